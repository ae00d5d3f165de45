// SPDX-License-Identifier: Apache-2.0
/// What a SentencePiece model says (tokenizer.model, a protocol buffer), and what its tokenizers have in common
/// wherever they are written down (GGUF files have the same pieces).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/json.h"

namespace scalebits {

/// Kinds of pieces in sentencepiece_model.proto; GGUF's token_type has the same numbers.
enum PieceType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581, what SentencePiece writes for a space

/// Fields of sentencepiece_model.proto; defaults are the format's.
struct SentencePieceSpec {
  enum class Model { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  struct Piece {
    std::string_view text;
    float score = 0;
    PieceType type = kNormal;
  };

  Model model = Model::kUnigram;
  std::vector<Piece> pieces;  ///< by id; at least one, each with text in UTF-8 and a finite score
  std::string_view bos = "<s>", eos = "</s>";
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;  ///< spaces end a word instead of beginning one
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  std::string_view characters_map;  ///< precompiled_charsmap: what is put for characters before all else
  bool has_denormalizer = false;    ///< decoding changes characters back

  [[nodiscard]] bool is(size_t id, PieceType type) const { return pieces[id].type == type; }
};

/// @param file bytes of the model, which must outlive the result: its texts are views
/// @throws FormatError: not a protocol buffer, or not one of such a model
SentencePieceSpec read_sentencepiece_spec(std::string_view file, const std::string& where);

/// The component `normalizer` of tokenizer.json for texts without extra spaces: U+2581 for a space, and one in front.
Json sentencepiece_normalizer(bool prefix);
/// The component `decoder`: the other way round, bytes put together.
Json sentencepiece_decoder(bool prefix);

}  // namespace scalebits
