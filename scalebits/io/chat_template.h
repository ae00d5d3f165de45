// SPDX-License-Identifier: Apache-2.0
/// The chat template of a Hugging Face checkpoint: a conversation -> the text that the model was trained to read.
#pragma once

#include <ctime>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "scalebits/io/jinja.h"
#include "scalebits/io/json.h"

namespace scalebits {

struct ChatMessage {
  std::string role;     ///< "system", "user" or "assistant"
  std::string content;  ///< UTF-8
};

class ChatTemplate {
 public:
  /// Looks, in this order, at chat_template.jinja, `chat_template` of tokenizer_config.json (a template, or a list of
  /// named ones of which `default` is taken) and of chat_template.json. Special tokens come from tokenizer_config.json
  /// or, where there is none, special_tokens_map.json.
  /// @throws FormatError when there is none, and as JinjaTemplate; IoError, Unsupported
  explicit ChatTemplate(const std::filesystem::path& model_dir);
  /// @param special_tokens  an object: "bos_token" and the like -> text
  ChatTemplate(std::string_view text, const std::string& where, Json special_tokens);

  /// What transformers' apply_chat_template(messages, tokenize=False) gives, without tools and documents.
  /// @param add_generation_prompt  ends with what an answer begins with
  /// @throws InvalidArgument where the template refuses the conversation; FormatError, Unsupported
  [[nodiscard]] std::string apply(std::span<const ChatMessage> messages, bool add_generation_prompt,
                                  const std::tm& now = local_time()) const;
  /// The same for messages with whatever members, [{"role": .., "content": ..}, ..], and further variables.
  [[nodiscard]] std::string apply(const Json& messages, bool add_generation_prompt, const Json& variables,
                                  const std::tm& now) const;

  /// The file that it comes from, and the key in it.
  [[nodiscard]] const std::string& where() const { return where_; }
  [[nodiscard]] const Json& special_tokens() const { return special_tokens_; }

 private:
  struct Source {
    std::string text, where;
  };
  ChatTemplate(const Source& source, Json special_tokens) : ChatTemplate(source.text, source.where, special_tokens) {}
  static Source find(const std::filesystem::path& model_dir);

  std::string where_;
  JinjaTemplate template_;
  Json special_tokens_;
};

}  // namespace scalebits
