// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/generate.h"

#include <algorithm>
#include <fstream>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/calibrate/forward.h"
#include "scalebits/io/json.h"
#include "tests/io/error_text.h"
#include "tests/model/golden.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

const std::string kPrompt = "It was a dark night, and";

class Warnings final : public Log {
 public:
  void warn(std::string_view line) override { lines.emplace_back(line); }
  std::vector<std::string> lines;
};

GenerateOptions greedy(int64_t max_new_tokens) {
  GenerateOptions options;
  options.max_new_tokens = max_new_tokens;
  options.sampler.temperature = 0;
  return options;
}

struct Output {
  Generated result;
  std::string streamed;
};

Output run(const std::filesystem::path& dir, const std::string& prompt, const GenerateOptions& options,
           Log& log = silent_log()) {
  const auto model = open_model(dir);
  const Tokenizer tokenizer(dir);
  Output out;
  out.result = generate(
      *model, tokenizer, prompt, options, [&](std::string_view text) { out.streamed += text; }, log);
  return out;
}

/// The demo model with other end-of-text ids.
void copy_with_eos(const std::filesystem::path& dir, const std::vector<int64_t>& eos) {
  std::filesystem::copy(test::demo_model(), dir);
  Json config = read_json(dir / "config.json");
  config["eos_token_id"] = eos;
  std::ofstream(dir / "config.json") << config.dump();
}

TEST(Generate, GreedyTakesTheMostProbableTokenOfTheWholeSequence) {
  const Generated g = run(test::demo_model(), kPrompt, greedy(12)).result;
  ASSERT_EQ(g.new_ids.size(), 12U);
  const auto model = open_model(test::demo_model());
  const Tokenizer tokenizer(test::demo_model());
  Sequence ids = {*tokenizer.bos()};
  for (const TokenId id : tokenizer.encode(kPrompt)) ids.push_back(id);
  EXPECT_EQ(g.prompt_tokens, static_cast<int64_t>(ids.size()));
  const size_t prompt_tokens = ids.size();
  ids.insert(ids.end(), g.new_ids.begin(), g.new_ids.end());
  const at::Tensor logits = model->logits(reference_hidden(*model, std::vector<Sequence>{ids})[0]);
  for (size_t i = 0; i < g.new_ids.size(); ++i) {
    const at::Tensor row = logits[static_cast<int64_t>(prompt_tokens + i) - 1];
    EXPECT_EQ(row.argmax().item<int64_t>(), g.new_ids[i]) << "new token " << i;
  }
}

TEST(Generate, StreamsThePromptAndThenTheCompletion) {
  const Output r = run(test::demo_model(), kPrompt, greedy(20));
  EXPECT_EQ(r.result.prompt, kPrompt);
  EXPECT_EQ(r.streamed, r.result.prompt + r.result.completion);
  EXPECT_EQ(r.result.completion, Tokenizer(test::demo_model()).decode(r.result.new_ids));
  EXPECT_EQ(r.result.stop_reason, StopReason::kLength);
}

TEST(Generate, StopsBeforeAStopString) {
  const std::string whole = run(test::demo_model(), kPrompt, greedy(20)).result.completion;
  ASSERT_GT(whole.size(), 12U);
  GenerateOptions options = greedy(20);
  options.stop = {whole.substr(8, 3)};
  const Output r = run(test::demo_model(), kPrompt, options);
  EXPECT_EQ(r.result.completion, whole.substr(0, whole.find(options.stop[0])));
  EXPECT_EQ(r.streamed, kPrompt + r.result.completion);
  EXPECT_EQ(r.result.stop_reason, StopReason::kStopString);
}

TEST(Generate, StopsAtAnyOfTheConfigsEndTokens) {
  const auto ids = run(test::demo_model(), kPrompt, greedy(5)).result.new_ids;
  ASSERT_NE(ids[2], ids[0]);
  ASSERT_NE(ids[2], ids[1]);
  const test::TempDir dir;
  copy_with_eos(dir / "model", {4095, ids[2]});
  const Output r = run(dir / "model", kPrompt, greedy(5));
  EXPECT_EQ(r.result.new_ids, std::vector<TokenId>(ids.begin(), ids.begin() + 3));
  EXPECT_EQ(r.result.stop_reason, StopReason::kEos);
  EXPECT_EQ(r.result.completion, Tokenizer(test::demo_model()).decode({ids.data(), 2}));  // without the end token

  GenerateOptions on = greedy(5);
  on.ignore_eos = true;
  const Output endless = run(dir / "model", kPrompt, on);
  EXPECT_EQ(endless.result.new_ids.size(), 5U);
  EXPECT_EQ(std::count(endless.result.new_ids.begin(), endless.result.new_ids.end(), ids[2]), 0);
}

TEST(Generate, MoreTokensThanTheContextAreRefusedWithTheNumbers) {
  EXPECT_THAT(error_text<InvalidArgument>([] { run(test::demo_model(), "Hello", greedy(512)); }),
              HasSubstr("prompt tokens + 512 new tokens, expected at most 512 together"));
  EXPECT_THAT(error_text<InvalidArgument>([] { run(test::demo_model(), "Hello", greedy(INT64_MAX)); }),
              HasSubstr("expected at most 512 together"));
  EXPECT_THAT(error_text<InvalidArgument>([] { run(test::demo_model(), "Hello", greedy(0)); }),
              HasSubstr("[--max-new-tokens] got 0"));
}

TEST(Generate, FillsTheContextToItsEnd) {
  const Tokenizer tokenizer(test::demo_model());
  const auto prompt_tokens = static_cast<int64_t>(tokenizer.encode("Hello").size()) + 1;
  GenerateOptions options = greedy(512 - prompt_tokens);
  options.ignore_eos = true;
  EXPECT_EQ(run(test::demo_model(), "Hello", options).result.new_ids.size(), static_cast<size_t>(512 - prompt_tokens));
}

TEST(Generate, DoesNotDoubleABosThatThePromptHas) {
  Warnings log;
  const Output written = run(test::demo_model(), "<|begin_of_text|>Hello", greedy(3), log);
  ASSERT_EQ(log.lines.size(), 1U);
  EXPECT_THAT(log.lines[0], HasSubstr("no second one is added"));
  EXPECT_EQ(written.result.new_ids, run(test::demo_model(), "Hello", greedy(3)).result.new_ids);
}

TEST(Generate, AnEmptyPromptStartsFromBos) {
  EXPECT_EQ(run(test::demo_model(), "", greedy(2)).result.prompt_tokens, 1);
}

TEST(Generate, StopsWhenAsked) {
  request_stop();
  EXPECT_THROW(run(test::demo_model(), "Hello", greedy(3)), Interrupted);
  clear_stop_request();
}

TEST(Generate, TextThatIsNotUtf8IsRefused) { EXPECT_THROW(run(test::demo_model(), "a\xff", greedy(3)), FormatError); }

/// The text that run.c gives (../shared/data/README.md).
TEST(Generate, ReproducesRunCGreedily) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const Output r = run(test::stories260k(), "Once upon a time", greedy(80));
  EXPECT_TRUE(r.streamed.starts_with(
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
      "big, red ball. She wanted to play with it, but it was too high."))
      << r.streamed;
}

}  // namespace
}  // namespace scalebits
