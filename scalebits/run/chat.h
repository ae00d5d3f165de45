// SPDX-License-Identifier: Apache-2.0
/// A conversation with a model, through its own chat template.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/chat_template.h"
#include "scalebits/run/continuation.h"

namespace scalebits {

struct ChatOptions {
  std::string system;            ///< what the conversation begins with; empty = what the template puts there
  int64_t context = 0;           ///< most tokens of a conversation; 0 = the model's context, at most kDefaultContext
  int64_t max_new_tokens = 512;  ///< of one answer
  SamplerOptions sampler;
  std::vector<std::string> stop;
};
/// Keys and values of so many tokens are held from the beginning.
constexpr int64_t kDefaultContext = 4096;

struct Answer {
  std::string text;
  int64_t prompt_tokens = 0;  ///< of the conversation so far, as the template writes it
  int64_t kept_tokens = 0;    ///< of these, not read again
  int64_t new_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  StopReason stop_reason = StopReason::kLength;

  [[nodiscard]] double prefill_tps() const;  ///< tokens that were read, per second
  [[nodiscard]] double decode_tps() const;   ///< new tokens but the first, per second; 0 when there is no other
};

class Conversation {
 public:
  /// @throws InvalidArgument: an unusable option, a context beyond the model's, a system message that the template
  ///         refuses. `weights` and `tokenizer` must outlive this.
  Conversation(ModelWeights& weights, const Tokenizer& tokenizer, ChatTemplate chat_template,
               const ChatOptions& options);

  /// Adds a message and the model's answer to it. Only what is new is read: what the tokens of the conversation have in
  /// common with those that were read last stays. A request to stop ends the answer, which stays as it is then; when
  /// nothing was answered yet, it throws Interrupted.
  /// @param message  UTF-8
  /// @throws InvalidArgument when the conversation does not fit the context (gives the numbers) or the template refuses
  ///         it; FormatError: not UTF-8. After an exception the conversation is as before the call.
  Answer ask(const std::string& message, const std::function<void(std::string_view)>& on_text);
  /// Back to the beginning, the system message kept.
  void reset();

  [[nodiscard]] const std::vector<ChatMessage>& messages() const { return messages_; }
  [[nodiscard]] int64_t context() const { return context_; }

 private:
  [[nodiscard]] std::vector<TokenId> encode(std::span<const ChatMessage> messages) const;
  Answer answer(std::vector<TokenId> ids, const std::function<void(std::string_view)>& on_text);
  /// Has the session read `ids`, keeping what it knows of them.
  std::span<const float> read(const std::vector<TokenId>& ids, Answer& answer);

  const Tokenizer& tokenizer_;
  ChatTemplate template_;
  ChatOptions options_;
  int64_t context_;
  Sampler sampler_;
  TextEnd end_;
  DecodeSession session_;
  std::vector<TokenId> read_;  ///< what the session has read
  std::vector<ChatMessage> messages_;
};

}  // namespace scalebits
