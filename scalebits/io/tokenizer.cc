// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/tokenizer.h"

#include <algorithm>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/io/added_tokens.h"
#include "scalebits/io/bpe.h"
#include "scalebits/io/component.h"
#include "scalebits/io/normalizer.h"
#include "scalebits/io/pre_tokenizer.h"
#include "scalebits/io/text.h"
#include "scalebits/io/token_decoder.h"
#include "scalebits/io/tokenizer_policy.h"

namespace scalebits {

/// `truncation` and `padding` of the file are settings of the program that saved it and are not read.
struct Tokenizer::Impl {
  Impl(const Component& file, const TokenizerPolicy& policy);

  void find_ends(const Component& post_processor, const TokenizerPolicy& policy);
  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const;
  /// The token for a decoder; empty for an unknown id and, on request, for a special token.
  [[nodiscard]] std::string_view written(TokenId id, bool skip_special) const;
  void encode_stretch(std::string_view text, bool at_start, Bpe::Scratch& scratch, std::vector<TokenId>& out) const;

  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokens added;
  TokenDecoder decoder;
  std::optional<TokenId> bos, eos;
  bool add_bos = false;
};

Tokenizer::Impl::Impl(const Component& file, const TokenizerPolicy& policy)
    : normalizer(file.child("normalizer")),
      pre_tokenizer(file.child("pre_tokenizer")),
      bpe(file.child("model"), pre_tokenizer.byte_level()),
      decoder(file.child("decoder")) {
  const Component version = file.child("version");
  if (!version.is_null() && version.text() != "1.0") version.unsupported(version.text(), "1.0");
  added.read(file.child("added_tokens"), bpe, normalizer);
  find_ends(file.child("post_processor"), policy);
}

void Tokenizer::Impl::find_ends(const Component& post_processor, const TokenizerPolicy& policy) {
  const auto find = [&](const std::optional<std::string>& token, std::string_view role) -> std::optional<TokenId> {
    if (!token) return std::nullopt;
    const auto found = id(*token);
    if (!found) {
      fail<FormatError>(post_processor.file(), "{}: got {}, expected a token of the vocabulary.", role, quote(*token));
    }
    added.add_special(*token, *found);
    return found;
  };
  const auto first = first_special_token(post_processor);
  eos = find(policy.eos, "eos_token");
  bos = find(policy.bos ? policy.bos : first, "bos_token");
  add_bos = policy.add_bos.value_or(first.has_value());
  if (add_bos && !bos)
    fail<FormatError>(post_processor.file(), "bos_token: missing, expected one, as add_bos_token is true.");
  if (first && !policy.add_bos && policy.bos && *policy.bos != *first) {
    post_processor.unsupported(*first, fmt::format("the bos_token {} before the text", quote(*policy.bos)));
  }
}

std::optional<TokenId> Tokenizer::Impl::id(std::string_view token) const {
  const auto found = added.id(token);
  return found ? found : bpe.id(token);
}

std::string_view Tokenizer::Impl::written(TokenId id, bool skip_special) const {
  const AddedTokens::Token* token = added.find(id);
  if (token == nullptr) return bpe.token(id);
  return token->special && skip_special ? std::string_view() : token->written;
}

void Tokenizer::Impl::encode_stretch(std::string_view text, bool at_start, Bpe::Scratch& scratch,
                                     std::vector<TokenId>& out) const {
  const PreTokenizer::Pieces pieces = pre_tokenizer.split(text, at_start);
  for (const std::string_view piece : pieces.views) bpe.encode(piece, scratch, out);
}

Tokenizer::Tokenizer(const std::filesystem::path& model_dir) {
  const std::filesystem::path path = model_dir / "tokenizer.json";
  const Json json = read_json(path);
  impl_ = std::make_unique<const Impl>(Component(json, path.string(), ""), read_tokenizer_policy(model_dir));
}

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
  Bpe::Scratch scratch;
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
      impl_->encode_stretch(part.text, at_start, scratch, ids);
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

int64_t Tokenizer::vocab_size() const { return std::max(impl_->bpe.size(), impl_->added.size()); }
std::optional<TokenId> Tokenizer::bos() const { return impl_->bos; }
std::optional<TokenId> Tokenizer::eos() const { return impl_->eos; }
bool Tokenizer::add_bos() const { return impl_->add_bos; }
std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const { return impl_->id(token); }

std::string_view Tokenizer::id_to_token(TokenId id) const {
  const AddedTokens::Token* token = impl_->added.find(id);
  return token != nullptr ? std::string_view(token->content) : impl_->bpe.token(id);
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
