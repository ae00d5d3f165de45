// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/tokenizer.h"

#include <algorithm>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/io/gguf.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer_parts.h"

namespace scalebits {

struct Tokenizer::Impl : TokenizerParts {
  explicit Impl(TokenizerParts parts) : TokenizerParts(std::move(parts)) {}

  /// The token for a decoder; empty for an unknown id and, on request, for a special token.
  [[nodiscard]] std::string_view written(TokenId id, bool skip_special) const;
  void encode_stretch(std::string_view text, bool at_start, TokenModel::Scratch& scratch,
                      std::vector<TokenId>& out) const;
};

std::string_view Tokenizer::Impl::written(TokenId id, bool skip_special) const {
  const AddedTokens::Token* token = added.find(id);
  if (token == nullptr) return model->vocabulary().token(id);
  return token->special && skip_special ? std::string_view() : token->written;
}

void Tokenizer::Impl::encode_stretch(std::string_view text, bool at_start, TokenModel::Scratch& scratch,
                                     std::vector<TokenId>& out) const {
  const PreTokenizer::Pieces pieces = pre_tokenizer.split(text, at_start);
  for (const std::string_view piece : pieces.views) model->encode(piece, scratch, out);
}

namespace {

TokenizerParts read_parts(const std::filesystem::path& path) {
  const auto files = tokenizer_files(path);
  if (!files.empty()) {
    if (files[0] == path) return read_gguf_vocabulary(path);
    if (files[0].filename() == "tokenizer.json") return read_tokenizer_json(path);
    return files.size() == 2 ? read_vocabulary_files(path) : read_sentencepiece(path);
  }
  if (!std::filesystem::exists(path)) fail<IoError>(path.string(), "tokenizer: no such file or directory.");
  fail<FormatError>(
      path.string(), "tokenizer: got {}, expected {}.",
      std::filesystem::is_directory(path) ? "a directory without one" : "a file of another kind",
      "a directory with a tokenizer.json, with vocab.json and merges.txt or with a tokenizer.model, or a GGUF "
      "file");
}

}  // namespace

std::vector<std::filesystem::path> tokenizer_files(const std::filesystem::path& path) {
  if (is_gguf(path)) return {path};
  const auto has = [&](const char* name) { return std::filesystem::exists(path / name); };
  if (has("tokenizer.json")) return {path / "tokenizer.json"};
  if (has("vocab.json") && has("merges.txt")) return {path / "vocab.json", path / "merges.txt"};
  if (has("tokenizer.model")) return {path / "tokenizer.model"};
  return {};
}

Tokenizer::Tokenizer(const std::filesystem::path& path) : impl_(std::make_unique<const Impl>(read_parts(path))) {}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool special) const {
  if (text.size() > kMaxTextBytes) {
    fail<InvalidArgument>("text", "size: got {} bytes, expected at most {}. Encode it in parts.", text.size(),
                          kMaxTextBytes);
  }
  const size_t bad = find_invalid_utf8(text);
  if (bad != std::string_view::npos) {
    fail<FormatError>("text", "byte {}: got {:#04x}, which is not part of UTF-8 text.", bad,
                      static_cast<unsigned char>(text[bad]));
  }
  std::vector<TokenId> ids;
  const auto scratch = impl_->model->make_scratch();
  for (const AddedTokens::Stretch& raw : impl_->added.split(text, false, special)) {
    if (raw.id) {
      ids.push_back(*raw.id);
      continue;
    }
    const std::string changed = impl_->normalizer.is_identity() ? std::string() : impl_->normalizer.apply(raw.text);
    const std::string_view normalized = impl_->normalizer.is_identity() ? raw.text : std::string_view(changed);
    for (const AddedTokens::Stretch& part : impl_->added.split(normalized, true, special)) {
      if (part.id) {
        ids.push_back(*part.id);
        continue;
      }
      const bool at_start = raw.text.data() == text.data() && part.text.data() == normalized.data();
      impl_->encode_stretch(part.text, at_start, *scratch, ids);
    }
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string text;
  TokenDecoder::State state;
  for (const TokenId id : ids) {
    const std::string_view token = impl_->written(id, skip_special);
    if (!token.empty()) impl_->decoder.push(state, token, text);
  }
  impl_->decoder.finish(state, text);
  return text;
}

int64_t Tokenizer::vocab_size() const { return std::max(impl_->model->vocabulary().size(), impl_->added.size()); }
std::optional<TokenId> Tokenizer::bos() const { return impl_->bos; }
std::optional<TokenId> Tokenizer::eos() const { return impl_->eos; }
bool Tokenizer::add_bos() const { return impl_->add_bos; }
std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const { return impl_->id(token); }

std::string_view Tokenizer::id_to_token(TokenId id) const {
  const AddedTokens::Token* token = impl_->added.find(id);
  return token != nullptr ? std::string_view(token->content) : impl_->model->vocabulary().token(id);
}

bool Tokenizer::is_special(TokenId id) const {
  const AddedTokens::Token* token = impl_->added.find(id);
  return token != nullptr && token->special;
}

struct StreamDecoder::State {
  TokenDecoder::State decoder;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer.impl_.get()), skip_special_(skip_special), state_(std::make_unique<State>()) {}
StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::push(TokenId id) {
  std::string text;
  const std::string_view token = tokenizer_->written(id, skip_special_);
  if (!token.empty()) tokenizer_->decoder.push(state_->decoder, token, text);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  tokenizer_->decoder.finish(state_->decoder, text);
  *state_ = State();
  return text;
}

}  // namespace scalebits
