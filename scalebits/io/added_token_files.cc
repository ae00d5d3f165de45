// SPDX-License-Identifier: Apache-2.0
/// Tokens that directories without a tokenizer.json have beside their vocabulary.
#include <algorithm>
#include <charconv>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer_parts.h"
#include "scalebits/io/tokenizer_policy.h"

namespace scalebits {
namespace {

TokenId parse_id(std::string_view text, const Component& where) {
  TokenId id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0 || id > kMaxTokenId) {
    fail<FormatError>(where.file(), "{}: got the key {}, expected a token id in [0, {}].", where.path(), quote(text),
                      kMaxTokenId);
  }
  return id;
}

/// All properties are in tokenizer_config.json.
void read_decoder(const Component& decoder, bool cut_raw, TokenizerParts& parts) {
  if (!decoder.is_object()) decoder.malformed("an object of ids and tokens");
  for (const auto& [key, value] : decoder.json().items()) {
    Json token = value;
    if (cut_raw && token.is_object()) token["normalized"] = false;
    const Component item(token, decoder.file(), fmt::format("{}[{}]", decoder.path(), quote(key)));
    parts.added.read_token(item, parse_id(key, decoder), parts.model->vocabulary(), parts.normalizer);
  }
}

/// Texts and ids only, in added_tokens.json of older directories; those with a role are special.
void read_list(const std::filesystem::path& path, const TokenizerPolicy& policy, bool cut_raw, TokenizerParts& parts) {
  const Json json = read_json_or_empty(path);
  if (!json.is_object()) fail<FormatError>(path.string(), "content: got {}, expected an object.", json.type_name());
  for (const auto& [text, value] : json.items()) {
    const auto id = static_cast<TokenId>(Component(value, path.string(), quote(text)).integer(0, kMaxTokenId));
    const bool special = std::count(policy.special.begin(), policy.special.end(), text) > 0;
    Json item = {{"content", text}, {"special", special}};
    if (cut_raw) item["normalized"] = false;
    parts.added.read_token(Component(item, path.string(), quote(text)), id, parts.model->vocabulary(),
                           parts.normalizer);
  }
}

}  // namespace

void read_added_tokens(const std::filesystem::path& dir, const Component& config, const ClassDefaults& defaults,
                       TokenizerParts& parts) {
  const TokenizerPolicy policy = read_tokenizer_policy(dir);
  const Component decoder = config.child("added_tokens_decoder");
  if (decoder.is_null()) {
    read_list(dir / "added_tokens.json", policy, defaults.cut_raw, parts);
  } else {
    read_decoder(decoder, defaults.cut_raw, parts);
  }
  for (const std::string& text : policy.special) {
    if (const auto id = parts.id(text)) parts.added.add_special(text, *id);
  }
  const auto find = [&](const std::optional<std::string>& text, std::string_view role,
                        std::string_view otherwise) -> std::optional<TokenId> {
    const std::string token(text ? std::string_view(*text) : otherwise);
    const auto id = parts.id(token);
    if (text && !id) {
      fail<FormatError>(dir.string(), "{}: got {}, expected a token of the vocabulary.", role, quote(token));
    }
    if (id) parts.added.add_special(token, *id);
    return id;
  };
  parts.bos = find(policy.bos, "bos_token", defaults.bos);
  parts.eos = find(policy.eos, "eos_token", defaults.eos);
  parts.add_bos = policy.add_bos.value_or(defaults.add_bos);
  if (parts.add_bos && !parts.bos) {
    fail<FormatError>(dir.string(), "bos_token: missing, expected one, as add_bos_token is true.");
  }
}

}  // namespace scalebits
