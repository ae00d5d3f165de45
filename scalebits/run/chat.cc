// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/chat.h"

#include <algorithm>
#include <chrono>

#include "scalebits/base/errors.h"
#include "scalebits/run/stop_strings.h"

namespace scalebits {
namespace {

int64_t context_of(const ModelConfig& config, int64_t wanted) {
  if (wanted == 0) return std::min(config.max_context, kDefaultContext);
  if (wanted < 2 || wanted > config.max_context) {
    fail<InvalidArgument>("--context", "got {} tokens, expected 2 to {} (the model's context).", wanted,
                          config.max_context);
  }
  return wanted;
}

ChatOptions checked(const ChatOptions& options) {
  if (options.max_new_tokens < 1) {
    fail<InvalidArgument>("--max-new-tokens", "got {}, expected at least 1.", options.max_new_tokens);
  }
  const StopStrings strings(options.stop);
  return options;
}

}  // namespace

double Answer::prefill_tps() const {
  return prefill_seconds > 0 ? static_cast<double>(prompt_tokens - kept_tokens) / prefill_seconds : 0;
}

double Answer::decode_tps() const {
  return decode_seconds > 0 && new_tokens > 1 ? static_cast<double>(new_tokens - 1) / decode_seconds : 0;
}

Conversation::Conversation(ModelWeights& weights, const Tokenizer& tokenizer, ChatTemplate chat_template,
                           const ChatOptions& options)
    : tokenizer_(tokenizer),
      template_(std::move(chat_template)),
      options_(checked(options)),
      context_(context_of(weights.config(), options.context)),
      sampler_(options.sampler),
      end_{.max_new_tokens = 0, .tokens = end_tokens(weights, tokenizer), .strings = options.stop},
      session_(weights, context_) {
  reset();
  std::vector<ChatMessage> first = messages_;
  first.push_back({"user", "Hello"});
  static_cast<void>(template_.apply(first, true));  // what it refuses of the system message, it refuses now
}

void Conversation::reset() {
  messages_.clear();
  if (!options_.system.empty()) messages_.push_back({"system", options_.system});
}

std::vector<TokenId> Conversation::encode(std::span<const ChatMessage> messages) const {
  // The template writes BOS itself where there is to be one.
  return tokenizer_.encode(template_.apply(messages, true));
}

Answer Conversation::ask(const std::string& message, const std::function<void(std::string_view)>& on_text) {
  std::vector<ChatMessage> messages = messages_;
  messages.push_back({"user", message});
  Answer result = answer(encode(messages), on_text);
  messages.push_back({"assistant", result.text});
  messages_ = std::move(messages);
  return result;
}

std::span<const float> Conversation::read(const std::vector<TokenId>& ids, Answer& answer) {
  const auto common = std::ranges::mismatch(ids, read_).in1 - ids.begin();
  // At least one token is read, for its logits.
  answer.kept_tokens = std::min<int64_t>(common, static_cast<int64_t>(ids.size()) - 1);
  session_.rewind(answer.kept_tokens);
  read_.resize(static_cast<size_t>(answer.kept_tokens));
  try {
    const std::span<const float> logits = session_.push(std::span(ids).subspan(read_.size()));
    read_ = ids;
    return logits;
  } catch (const Interrupted&) {
    read_.assign(ids.begin(), ids.begin() + session_.position());
    throw;
  }
}

Answer Conversation::answer(std::vector<TokenId> ids, const std::function<void(std::string_view)>& on_text) {
  Answer result;
  result.prompt_tokens = static_cast<int64_t>(ids.size());
  if (ids.empty()) fail<InvalidArgument>(template_.where(), "conversation: got 0 tokens of it, expected at least 1.");
  if (result.prompt_tokens > context_) {
    fail<InvalidArgument>("context",
                          "conversation: got {} tokens with this message, expected at most {}. Begin a new one "
                          "(/reset), or give a larger --context where the model allows it.",
                          result.prompt_tokens, context_);
  }
  const auto start = std::chrono::steady_clock::now();
  const std::span<const float> logits = read(ids, result);
  result.prefill_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  // The last new token is never read.
  end_.max_new_tokens = std::min(options_.max_new_tokens, context_ - result.prompt_tokens + 1);
  StreamDecoder decoder(tokenizer_);
  const Continuation text = continue_text(session_, logits, ids, decoder, sampler_, end_, on_text);
  read_.assign(ids.begin(), ids.begin() + session_.position());
  if (text.stop_reason == StopReason::kInterrupted && text.new_tokens == 0) {
    throw Interrupted("[interrupt] stopped before an answer began");
  }
  result.text = text.text;
  result.new_tokens = text.new_tokens;
  result.decode_seconds = text.decode_seconds;
  result.stop_reason = text.stop_reason;
  return result;
}

}  // namespace scalebits
