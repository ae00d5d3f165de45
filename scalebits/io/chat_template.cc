// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/chat_template.h"

#include <array>
#include <optional>

#include "scalebits/base/errors.h"
#include "scalebits/io/component.h"
#include "scalebits/io/file.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;

constexpr std::array kSpecialTokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                       "pad_token", "cls_token", "mask_token"};
/// Far above any template, and a tokenizer_config.json with thousands of added tokens.
constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

/// `chat_template` of a file: its text, and the key with which errors name it.
std::optional<std::pair<std::string, std::string>> template_of(const Component& file) {
  const Component key = file.child("chat_template");
  if (key.is_null()) return std::nullopt;
  if (key.is_text()) return std::pair(key.text(), key.path());
  if (!key.json().is_array()) key.malformed("a template or a list of named ones");
  std::string names;
  for (const Component& entry : key.items()) {
    const std::string& name = entry.text("name");
    if (name == "default") return std::pair(entry.text("template"), entry.path() + ".template");
    names += (names.empty() ? "" : ", ") + name;
  }
  fail<FormatError>(key.file(), "chat_template: got templates named {}, expected one named default.", quote(names));
}

Json special_tokens_of(const fs::path& model_dir) {
  Json tokens = Json::object();
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const fs::path path = model_dir / name;
    if (!fs::exists(path)) continue;
    const Json json = read_json(path, kMaxFileBytes);
    const Component file(json, path.string(), "");
    for (const char* token : kSpecialTokens) {
      const Component entry = file.child(token);
      if (!entry.is_null()) tokens[token] = (entry.is_object() ? entry.child("content") : entry).text();
    }
    break;
  }
  return tokens;
}

}  // namespace

ChatTemplate::Source ChatTemplate::find(const fs::path& model_dir) {
  const fs::path alone = model_dir / "chat_template.jinja";
  if (fs::exists(alone)) return {read_text_file(alone, kMaxFileBytes), alone.string()};
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const fs::path path = model_dir / name;
    if (!fs::exists(path)) continue;
    const Json json = read_json(path, kMaxFileBytes);
    if (const auto found = template_of(Component(json, path.string(), ""))) {
      return {found->first, fmt::format("{}: {}", path.string(), found->second)};
    }
  }
  fail<FormatError>((model_dir / "tokenizer_config.json").string(),
                    "chat_template: missing, and there is no chat_template.jinja. This model was not made for "
                    "conversations; let it continue a text with generate.");
}

ChatTemplate::ChatTemplate(const fs::path& model_dir) : ChatTemplate(find(model_dir), special_tokens_of(model_dir)) {}

ChatTemplate::ChatTemplate(std::string_view text, const std::string& where, Json special_tokens)
    : where_(where), template_(text, where), special_tokens_(std::move(special_tokens)) {}

std::string ChatTemplate::apply(std::span<const ChatMessage> messages, bool add_generation_prompt,
                                const std::tm& now) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
    const size_t bad = find_invalid_utf8(message.content);
    if (bad != std::string_view::npos) {
      fail<FormatError>("message", "byte {}: got {:#04x}, which is not part of UTF-8 text.", bad,
                        static_cast<uint8_t>(message.content[bad]));
    }
  }
  return apply(list, add_generation_prompt, Json::object(), now);
}

std::string ChatTemplate::apply(const Json& messages, bool add_generation_prompt, const Json& variables,
                                const std::tm& now) const {
  Json all = special_tokens_;
  all["messages"] = messages;
  all["tools"] = nullptr;
  all["documents"] = nullptr;
  all["add_generation_prompt"] = add_generation_prompt;
  for (const auto& [name, value] : variables.items()) all[name] = value;
  return template_.render(all, now);
}

}  // namespace scalebits
