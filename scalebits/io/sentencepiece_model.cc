// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

/// Appended to a model: a second normalizer_spec (field 3, 2 bytes), of which add_dummy_prefix (field 3) is false.
/// Messages of one field are merged, so only this value is replaced.
constexpr std::string_view kWithoutPrefix{"\x1a\x02\x18\x00", 4};

struct NoScratch final : TokenModel::Scratch {};

std::optional<TokenId> known(int id) {
  if (id < 0) return std::nullopt;
  return id;
}

}  // namespace

struct SentencePieceModel::Library {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Library> library, Vocabulary vocabulary, SentencePieceSpec spec,
                                       std::string where)
    : TokenModel(std::move(vocabulary)), library_(std::move(library)), spec_(spec), where_(std::move(where)) {}

SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::load(const std::string& file, bool prefix,
                                                             const std::string& where) {
  const SentencePieceSpec spec = read_sentencepiece_spec(file, where);
  auto library = std::make_unique<Library>();
  std::string serialized = file;
  if (!prefix) serialized += kWithoutPrefix;
  const auto status = library->processor.LoadFromSerializedProto(serialized);
  if (!status.ok()) {
    fail<FormatError>(where, "content: got {} bytes, expected a SentencePiece model: {}.", file.size(),
                      quote(status.ToString(), 200));
  }
  std::vector<Vocabulary::Entry> entries;
  const int count = library->processor.GetPieceSize();
  if (count < 1 || count > kMaxTokenId) {
    fail<FormatError>(where, "pieces: got {}, expected 1 to {}.", count, kMaxTokenId);
  }
  for (int id = 0; id < count; ++id) {
    const std::string_view piece = library->processor.IdToPiece(id);
    if (find_invalid_utf8(piece) != std::string_view::npos) {
      fail<FormatError>(where, "pieces[{}]: got {}, expected UTF-8.", id, quote(piece));
    }
    entries.emplace_back(piece, id);
  }
  Vocabulary vocabulary(entries, where, "pieces");
  return std::unique_ptr<SentencePieceModel>(
      new SentencePieceModel(std::move(library), std::move(vocabulary), spec, where));
}

std::unique_ptr<TokenModel::Scratch> SentencePieceModel::make_scratch() const { return std::make_unique<NoScratch>(); }

void SentencePieceModel::encode(std::string_view piece, Scratch& /*scratch*/, std::vector<TokenId>& out) const {
  std::vector<int> ids;
  const auto status = library_->processor.Encode(piece, &ids);
  if (!status.ok()) {
    fail<FormatError>(where_, "text: got {} bytes that SentencePiece refuses: {}.", piece.size(),
                      quote(status.ToString(), 200));
  }
  out.insert(out.end(), ids.begin(), ids.end());
}

SentencePieceModel::Kind SentencePieceModel::kind(TokenId id) const {
  if (library_->processor.IsUnknown(id)) return Kind::kUnknown;
  return library_->processor.IsControl(id) ? Kind::kControl : Kind::kNormal;
}

std::optional<TokenId> SentencePieceModel::bos() const { return known(library_->processor.bos_id()); }
std::optional<TokenId> SentencePieceModel::eos() const { return known(library_->processor.eos_id()); }

}  // namespace scalebits
