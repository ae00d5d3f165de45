// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/chat.h"

#include <gmock/gmock.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/run/generate.h"
#include "tests/io/error_text.h"
#include "tests/run/chat_model.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

class Chat : public testing::Test {
 protected:
  Chat() {
    test::make_chat_model(dir_ / "model");
    model_ = open_for_generation(dir_ / "model");
    tokenizer_ = std::make_unique<Tokenizer>(dir_ / "model");
  }
  ~Chat() override { clear_stop_request(); }

  static ChatOptions greedy(int64_t max_new_tokens) {
    ChatOptions options;
    options.max_new_tokens = max_new_tokens;
    options.sampler.temperature = 0;
    return options;
  }
  Conversation begin(const ChatOptions& options) const {
    return {*model_, *tokenizer_, ChatTemplate(dir_ / "model"), options};
  }
  /// What a session that knows nothing continues this text with.
  [[nodiscard]] std::string continued(const std::string& text, int64_t max_new_tokens) const {
    GenerateOptions options;
    options.max_new_tokens = max_new_tokens;
    options.sampler.temperature = 0;
    return generate(
               *model_, *tokenizer_, text, options, [](std::string_view) {}, silent_log())
        .completion;
  }

  test::TempDir dir_;
  std::unique_ptr<ModelWeights> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

void ignore(std::string_view /*text*/) {}

TEST_F(Chat, AnswersContinueTheWholeConversation) {
  Conversation chat = begin(greedy(8));
  std::string text = "<|begin_of_text|>";
  int64_t last_tokens = 0;
  for (const std::string message : {"It was a dark night.", "Who came?", "And then?"}) {
    text += "user:" + message + "\nassistant:";
    std::string streamed;
    const Answer answer = chat.ask(message, [&](std::string_view piece) { streamed += piece; });
    EXPECT_EQ(answer.text, continued(text, 8)) << message;
    EXPECT_EQ(streamed, answer.text);
    EXPECT_EQ(answer.new_tokens, 8);
    EXPECT_EQ(answer.prompt_tokens, static_cast<int64_t>(tokenizer_->encode(text).size()));
    // What the conversation had before is not read again, but for the end of the last answer.
    EXPECT_GE(answer.kept_tokens, last_tokens);
    EXPECT_LT(answer.kept_tokens, answer.prompt_tokens);
    last_tokens = answer.prompt_tokens;
    text += answer.text + "\n";
  }
  ASSERT_EQ(chat.messages().size(), 6U);
  EXPECT_EQ(chat.messages()[5].role, "assistant");
}

TEST_F(Chat, AResetGoesBackToTheSystemMessage) {
  ChatOptions options = greedy(6);
  options.system = "You tell stories.";
  Conversation chat = begin(options);
  const Answer first = chat.ask("Begin.", ignore);
  chat.ask("Go on.", ignore);
  chat.reset();
  const Answer again = chat.ask("Begin.", ignore);
  EXPECT_EQ(again.text, first.text);
  EXPECT_EQ(again.prompt_tokens, first.prompt_tokens);
  EXPECT_EQ(again.kept_tokens, first.prompt_tokens - 1);  // one is read again, for what comes behind it
  ASSERT_EQ(chat.messages().size(), 3U);
  EXPECT_EQ(chat.messages()[0].content, "You tell stories.");
}

TEST_F(Chat, WhatDoesNotFitIsRefusedAndTheConversationGoesOn) {
  ChatOptions options = greedy(100);
  options.context = 40;
  Conversation chat = begin(options);
  std::string long_message;
  for (int i = 0; i < 60; ++i) long_message += "word ";
  EXPECT_THAT(error_text<InvalidArgument>([&] { chat.ask(long_message, ignore); }),
              testing::AllOf(HasSubstr("[context] conversation: got "), HasSubstr("expected at most 40")));
  EXPECT_TRUE(chat.messages().empty());
  const Answer answer = chat.ask("Hello", ignore);
  EXPECT_EQ(answer.text, continued("<|begin_of_text|>user:Hello\nassistant:", answer.new_tokens));
  EXPECT_EQ(answer.prompt_tokens + answer.new_tokens, 41);  // the last token is not read
  EXPECT_EQ(answer.stop_reason, StopReason::kLength);
}

TEST_F(Chat, AStopRequestEndsTheAnswerAndKeepsWhatWasSaid) {
  Conversation chat = begin(greedy(50));
  const Answer stopped = chat.ask("Hello", [](std::string_view) { request_stop(); });
  EXPECT_EQ(stopped.stop_reason, StopReason::kInterrupted);
  EXPECT_LT(stopped.new_tokens, 50);
  EXPECT_EQ(chat.messages().size(), 2U);
  EXPECT_THROW(chat.ask("Still stopped", ignore), Interrupted);
  EXPECT_EQ(chat.messages().size(), 2U);
  clear_stop_request();
  const Answer next = chat.ask("Go on", ignore);
  EXPECT_EQ(next.text,
            continued("<|begin_of_text|>user:Hello\nassistant:" + stopped.text + "\nuser:Go on\nassistant:", 50));
}

TEST_F(Chat, EndsAtTheEndTokensOfTheGenerationConfig) {
  const std::string prompt = "<|begin_of_text|>user:Hello\nassistant:";
  GenerateOptions options;
  options.max_new_tokens = 5;
  options.sampler.temperature = 0;
  const auto run = [&] { return generate(*model_, *tokenizer_, prompt, options, ignore, silent_log()); };
  const TokenId third = run().new_ids[2];
  std::filesystem::remove(dir_ / "model/generation_config.json");
  std::ofstream(dir_ / "model/generation_config.json") << R"({"eos_token_id": [4095, )" << third << "]}";
  EXPECT_EQ(run().stop_reason, StopReason::kEos);
  const Answer answer = begin(greedy(20)).ask("Hello", ignore);
  EXPECT_EQ(answer.stop_reason, StopReason::kEos);
  EXPECT_LE(answer.new_tokens, 3);
  EXPECT_EQ(answer.text, run().completion);
}

TEST_F(Chat, StopStringsEndAnAnswer) {
  const std::string whole = begin(greedy(20)).ask("Hello", ignore).text;
  ASSERT_GT(whole.size(), 8U);
  ChatOptions options = greedy(20);
  options.stop = {whole.substr(4, 3)};
  const Answer answer = begin(options).ask("Hello", ignore);
  EXPECT_EQ(answer.text, whole.substr(0, whole.find(options.stop[0])));
  EXPECT_EQ(answer.stop_reason, StopReason::kStopString);
}

TEST_F(Chat, UnusableOptionsAreRefusedBeforeTheFirstMessage) {
  ChatOptions options;
  options.context = 513;
  EXPECT_THAT(error_text<InvalidArgument>([&] { begin(options); }),
              HasSubstr("[--context] got 513 tokens, expected 2 to 512"));
  EXPECT_THAT(error_text<InvalidArgument>([&] { begin(greedy(0)); }), HasSubstr("[--max-new-tokens] got 0"));
  options = greedy(1);
  options.system = "forbidden";
  EXPECT_THAT(error_text<InvalidArgument>([&] { begin(options); }),
              HasSubstr("the template refuses this: no such system message"));
  EXPECT_THROW(begin(greedy(1)).ask("a\xff", ignore), FormatError);
}

}  // namespace
}  // namespace scalebits
