// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/sentencepiece_spec.h"

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/io/protobuf.h"
#include "scalebits/io/text.h"
#include "scalebits/io/vocabulary.h"

namespace scalebits {
namespace {

using Field = ProtobufMessage::Field;

// Field numbers of sentencepiece_model.proto.
enum ModelProto : uint64_t { kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3, kDenormalizerSpec = 5 };
enum SentencePiece : uint64_t { kText = 1, kScore = 2, kType = 3 };
enum TrainerSpec : uint64_t {
  kModelType = 3,
  kWhitespaceAsSuffix = 24,
  kByteFallback = 35,
  kBosPiece = 46,
  kEosPiece = 47
};
enum NormalizerSpec : uint64_t {
  kCharsMap = 2,
  kAddDummyPrefix = 3,
  kRemoveExtraWhitespaces = 4,
  kEscapeWhitespaces = 5
};

uint64_t choice(const Field& field, std::string_view name, uint64_t last, const std::string& where) {
  if (field.value < 1 || field.value > last) {
    fail<FormatError>(where, "{}: got {}, expected 1 to {}.", name, field.value, last);
  }
  return field.value;
}

void read_piece(ProtobufMessage message, const std::string& where, SentencePieceSpec& spec) {
  SentencePieceSpec::Piece piece;
  for (Field field; message.next(field);) {
    if (field.number == kText) piece.text = field.bytes;
    if (field.number == kScore) piece.score = message.to_float(field);
    if (field.number == kType) piece.type = static_cast<PieceType>(choice(field, "type of a piece", kByte, where));
  }
  const size_t id = spec.pieces.size();
  if (id >= static_cast<size_t>(kMaxTokenId)) {
    fail<FormatError>(where, "pieces: got more than {}, expected fewer.", kMaxTokenId);
  }
  if (find_invalid_utf8(piece.text) != std::string_view::npos) {
    fail<FormatError>(where, "pieces[{}]: got {}, expected UTF-8.", id, quote(piece.text));
  }
  if (!std::isfinite(piece.score)) {
    fail<FormatError>(where, "pieces[{}].score: got {}, expected a finite number.", id, piece.score);
  }
  spec.pieces.push_back(piece);
}

void read_trainer(ProtobufMessage message, const std::string& where, SentencePieceSpec& spec) {
  for (Field field; message.next(field);) {
    if (field.number == kModelType) {
      spec.model = static_cast<SentencePieceSpec::Model>(choice(field, "trainer_spec.model_type", 4, where));
    }
    if (field.number == kWhitespaceAsSuffix) spec.whitespace_as_suffix = field.value != 0;
    if (field.number == kByteFallback) spec.byte_fallback = field.value != 0;
    if (field.number == kBosPiece) spec.bos = field.bytes;
    if (field.number == kEosPiece) spec.eos = field.bytes;
  }
}

void read_normalizer(ProtobufMessage message, SentencePieceSpec& spec) {
  for (Field field; message.next(field);) {
    if (field.number == kCharsMap) spec.characters_map = field.bytes;
    if (field.number == kAddDummyPrefix) spec.add_dummy_prefix = field.value != 0;
    if (field.number == kRemoveExtraWhitespaces) spec.remove_extra_whitespaces = field.value != 0;
    if (field.number == kEscapeWhitespaces) spec.escape_whitespaces = field.value != 0;
  }
}

bool has_map(ProtobufMessage normalizer) {
  for (Field field; normalizer.next(field);) {
    if (field.number == kCharsMap && !field.bytes.empty()) return true;
  }
  return false;
}

}  // namespace

SentencePieceSpec read_sentencepiece_spec(std::string_view file, const std::string& where) {
  SentencePieceSpec spec;
  ProtobufMessage model(file, where);
  for (Field field; model.next(field);) {
    // A spec that comes twice is merged, the last value of a field wins, as the format prescribes.
    const ProtobufMessage message(field.bytes, where);
    if (field.number == kPieces) read_piece(message, where, spec);
    if (field.number == kTrainerSpec) read_trainer(message, where, spec);
    if (field.number == kNormalizerSpec) read_normalizer(message, spec);
    if (field.number == kDenormalizerSpec) spec.has_denormalizer = spec.has_denormalizer || has_map(message);
  }
  if (spec.pieces.empty()) {
    fail<FormatError>(where, "pieces: got none in {} bytes, expected those of a SentencePiece model.", file.size());
  }
  return spec;
}

Json sentencepiece_normalizer(bool prefix) {
  Json steps = Json::array();
  if (prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}});
  return {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
}

Json sentencepiece_decoder(bool prefix) {
  Json steps = Json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}},
                            {{"type", "ByteFallback"}},
                            {{"type", "Fuse"}}});
  if (prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

}  // namespace scalebits
