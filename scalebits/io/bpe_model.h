// SPDX-License-Identifier: Apache-2.0
/// What a byte-pair encoding consists of, wherever it is written down.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scalebits/io/component.h"
#include "scalebits/io/vocabulary.h"

namespace scalebits {

struct BpeModel {
  std::string file;  ///< in errors
  std::string merges_key = "model.merges";
  Vocabulary vocabulary;
  /// By rank. Views into the document that was read, which must outlive this.
  std::vector<std::pair<std::string_view, std::string_view>> merges;
  /// By id, in place of `merges` (SentencePiece): two neighbours may merge when their texts together are a token with a
  /// score above -infinity, the highest score first.
  std::vector<float> scores;
  std::string unknown;         ///< token for characters that cannot be spelled; empty: they are dropped
  bool byte_level = false;     ///< pieces are bytes that the vocabulary spells as byte_level_character()
  bool byte_fallback = false;  ///< missing characters are spelled as <0xHH>
  bool fuse_unknown = false;   ///< unknown characters in a row are one token
  bool ignore_merges = false;  ///< a piece that is a token is not merged
};

/// The component `model` of tokenizer.json. @throws FormatError, Unsupported
BpeModel read_bpe_model(const Component& model, bool byte_level);

/// The tokens of an object {text: id}. @throws FormatError
Vocabulary read_vocabulary(const Component& vocab);

}  // namespace scalebits
