// SPDX-License-Identifier: Apache-2.0
/// What has to be known of a SentencePiece model (tokenizer.model) before its library may have it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

/// Of sentencepiece_model.proto; defaults are the format's.
struct SentencePieceSpec {
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::vector<int32_t> user_defined;  ///< ids of the pieces that are found in any text
};

/// Reads the spec, and checks what the library would follow without a check: the trie of `precompiled_charsmap`.
/// @param model the file, a protocol buffer
/// @throws FormatError: not a protocol buffer, a trie that leads outside of itself
SentencePieceSpec read_sentencepiece_spec(std::string_view model, const std::string& where);

}  // namespace scalebits
