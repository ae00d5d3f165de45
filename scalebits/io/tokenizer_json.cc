// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/errors.h"
#include "scalebits/io/bpe.h"
#include "scalebits/io/component.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer_parts.h"
#include "scalebits/io/tokenizer_policy.h"
#include "scalebits/io/unigram.h"

namespace scalebits {
namespace {

void find_ends(const Component& post_processor, const TokenizerPolicy& policy, TokenizerParts& parts) {
  const auto find = [&](const std::optional<std::string>& token, std::string_view role) -> std::optional<TokenId> {
    if (!token) return std::nullopt;
    const auto found = parts.id(*token);
    if (!found) {
      fail<FormatError>(post_processor.file(), "{}: got {}, expected a token of the vocabulary.", role, quote(*token));
    }
    parts.added.add_special(*token, *found);
    return found;
  };
  const auto first = first_special_token(post_processor);
  parts.eos = find(policy.eos, "eos_token");
  parts.bos = find(policy.bos ? policy.bos : first, "bos_token");
  parts.add_bos = policy.add_bos.value_or(first.has_value());
  if (parts.add_bos && !parts.bos)
    fail<FormatError>(post_processor.file(), "bos_token: missing, expected one, as add_bos_token is true.");
  if (first && !policy.add_bos && policy.bos && *policy.bos != *first) {
    post_processor.unsupported(*first, fmt::format("the bos_token {} before the text", quote(*policy.bos)));
  }
}

std::unique_ptr<const TokenModel> read_model(const Component& model, bool byte_level) {
  const Component type = model.child("type");
  if (type.is_null() || type.text() != "Unigram") return std::make_unique<Bpe>(read_bpe_model(model, byte_level));
  if (byte_level) type.unsupported(type.text(), "BPE behind a ByteLevel pre-tokenizer");
  return Unigram::read(model);
}

}  // namespace

std::optional<TokenId> TokenizerParts::id(std::string_view token) const {
  const auto found = added.id(token);
  return found ? found : model->vocabulary().id(token);
}

TokenizerParts read_tokenizer_json(const std::filesystem::path& dir) {
  const std::filesystem::path path = dir / "tokenizer.json";
  const Json json = read_json(path);
  const Component file(json, path.string(), "");
  const TokenizerPolicy policy = read_tokenizer_policy(dir);
  const Component version = file.child("version");
  if (!version.is_null() && version.text() != "1.0") version.unsupported(version.text(), "1.0");
  TokenizerParts parts;
  parts.normalizer = Normalizer(file.child("normalizer"));
  parts.pre_tokenizer = PreTokenizer(file.child("pre_tokenizer"));
  parts.model = read_model(file.child("model"), parts.pre_tokenizer.byte_level());
  parts.decoder = TokenDecoder(file.child("decoder"));
  parts.added.read(file.child("added_tokens"), parts.model->vocabulary(), parts.normalizer);
  find_ends(file.child("post_processor"), policy, parts);
  return parts;
}

}  // namespace scalebits
