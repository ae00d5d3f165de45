// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/tokenizer_policy.h"

namespace scalebits {
namespace {

constexpr size_t kMaxSpecialTokens = 1 << 16;

/// A token given as its text or as `{"content": text, ...}`.
std::optional<std::string> read_token(const Component& token) {
  if (token.is_null()) return std::nullopt;
  const Component content = token.is_object() ? token.child("content") : token;
  if (!content.is_text()) content.malformed("the text of a token");
  return content.text();
}

std::optional<std::string> first_of_template(const Component& processor) {
  std::optional<std::string> first;
  for (const Component& piece : processor.child("single").items()) {
    const Component special = piece.child("SpecialToken");
    // Tokens behind the text (EOS) end a document; a prompt that is to be continued must not have them.
    if (special.is_null()) break;
    if (first) special.unsupported(special.text("id"), "one special token before the text");
    first = special.text("id");
    const Component entry = processor.child("special_tokens").child(*first);
    const auto tokens = entry.child("tokens").items();
    if (tokens.size() != 1) entry.child("tokens").malformed("one token");
    first = tokens[0].text();
  }
  return first;
}

}  // namespace

TokenizerPolicy read_tokenizer_policy(const std::filesystem::path& model_dir) {
  TokenizerPolicy policy;
  const std::filesystem::path config_path = model_dir / "tokenizer_config.json";
  const std::filesystem::path map_path = model_dir / "special_tokens_map.json";
  const bool configured = std::filesystem::exists(config_path);
  if (!configured && !std::filesystem::exists(map_path)) return policy;
  const std::filesystem::path& path = configured ? config_path : map_path;
  const Json json = read_json(path);
  const Component config(json, path.string(), "");
  policy.bos = read_token(config.child("bos_token"));
  policy.eos = read_token(config.child("eos_token"));
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
    if (const auto token = read_token(config.child(key))) policy.special.push_back(*token);
  }
  const Component more = config.child("additional_special_tokens");
  if (!more.is_null()) {
    for (const Component& token : more.items(kMaxSpecialTokens)) {
      if (const auto text = read_token(token)) policy.special.push_back(*text);
    }
  }
  const Component add_bos = config.child("add_bos_token");
  if (configured && !add_bos.is_null()) policy.add_bos = add_bos.flag();
  return policy;
}

std::optional<std::string> first_special_token(const Component& post_processor) {
  if (post_processor.is_null()) return std::nullopt;
  const std::string& type = post_processor.type();
  if (type == "ByteLevel") return std::nullopt;  // moves offsets, which we do not give
  if (type == "TemplateProcessing") return first_of_template(post_processor);
  if (type != "Sequence") post_processor.unsupported(type, "TemplateProcessing, ByteLevel or Sequence");
  std::optional<std::string> first;
  for (const Component& step : post_processor.child("processors").items()) {
    const auto here = first_special_token(step);
    if (here && first) step.unsupported(step.type(), "one TemplateProcessing");
    if (here) first = here;
  }
  return first;
}

}  // namespace scalebits
