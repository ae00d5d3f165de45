// SPDX-License-Identifier: Apache-2.0
/// generate and tokenize.
#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "tests/cli/run_program.h"
#include "tests/io/raw_gguf.h"
#include "tests/report/packed_model.h"

namespace scalebits {
namespace {

using test::Outcome;
using test::run_program;
using testing::HasSubstr;
using testing::StartsWith;

std::string demo() { return test::demo_model().string(); }

TEST(GenerateCommand, PrintsPromptAndTextOnStdoutAndSpeedOnStderr) {
  const test::TempDir dir;
  const Outcome outcome = run_program({"generate", demo(), "--prompt", "It was a dark night", "-n", "8",
                                       "--temperature", "0", "--json", dir / "r.json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, StartsWith("It was a dark night"));
  EXPECT_THAT(outcome.err, HasSubstr("tokens/s"));
  const Json r = read_json(dir / "r.json")["result"];
  EXPECT_EQ(r["text"].get<std::string>() + "\n", outcome.out);
  EXPECT_EQ(r["new_tokens"], 8);
  EXPECT_EQ(r["stop_reason"], "length");
  EXPECT_GT(r["prefill_tps"].get<double>(), 0);
  EXPECT_GT(r["decode_tps"].get<double>(), 0);
}

TEST(GenerateCommand, ReadsThePromptFromAFileAndIsQuietOnRequest) {
  const test::TempDir dir;
  std::ofstream(dir / "prompt.txt") << "The Count of Monte Cristo";
  const Outcome file = run_program({"generate", demo(), "-f", dir / "prompt.txt", "-n", "5", "--seed", "3", "--quiet"});
  const Outcome flag =
      run_program({"generate", demo(), "--prompt", "The Count of Monte Cristo", "-n", "5", "--seed", "3"});
  EXPECT_EQ(file.exit_code, 0) << file.err;
  EXPECT_EQ(file.out, flag.out);
  EXPECT_EQ(file.err, "");
}

TEST(GenerateCommand, RunsPackedModels) {
  const test::TempDir dir;
  test::pack_model(test::demo_model(), dir / "packed", {}, [](int64_t, Slot, int64_t) { return uint8_t{8}; });
  const std::vector<std::string> rest = {"--prompt", "It was a dark night", "-n", "8", "--temperature", "0"};
  std::vector<std::string> packed = {"generate", dir / "packed"}, dense = {"generate", demo()};
  packed.insert(packed.end(), rest.begin(), rest.end());
  dense.insert(dense.end(), rest.begin(), rest.end());
  const Outcome outcome = run_program(packed);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, run_program(dense).out);  // 8 bits move no logit far enough to change these eight tokens
}

TEST(GenerateCommand, TooLongATextExitsWith2WithTheNumbers) {
  const Outcome outcome = run_program({"generate", demo(), "--prompt", "Hello", "-n", "512"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("prompt tokens + 512 new tokens, expected at most 512 together"));
}

TEST(GenerateCommand, BadSamplerOptionsExitWith2) {
  const Outcome outcome = run_program({"generate", demo(), "--prompt", "Hello", "--top-p", "1.5"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("[--top-p] got 1.5, expected a share in (0, 1]"));
}

TEST(GenerateCommand, StopMayBeGivenSeveralTimesAndBeforeTheModel) {
  const Outcome outcome = run_program({"generate", "--stop", "\x01", "--stop", "e", demo(), "--prompt",
                                       "It was a dark night", "-n", "40", "--seed", "1"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("stopped by a stop string"));
}

TEST(TokenizeCommand, PrintsOneLineOfIdsForEachTextAndDecodesThem) {
  const std::string text = "It was night. \n--\n\n--\n  Two  spaces";
  const Outcome ids = run_program({"tokenize", demo(), "--separator", "--"}, text);
  EXPECT_EQ(ids.exit_code, 0) << ids.err;
  EXPECT_EQ(std::count(ids.out.begin(), ids.out.end(), '\n'), 3);
  const Outcome back = run_program({"tokenize", demo(), "--decode", "--separator", "--"}, ids.out);
  EXPECT_EQ(back.exit_code, 0) << back.err;
  EXPECT_EQ(back.out, text + "--");
}

TEST(TokenizeCommand, PutsBosOnRequestAndReadsSpecialTokens) {
  const auto out = [](std::vector<std::string> flags, const std::string& text) {
    flags.insert(flags.begin(), {"tokenize", demo()});
    return run_program(flags, text).out;
  };
  EXPECT_EQ(out({"--bos"}, "Hello"), "4094 " + out({}, "Hello"));
  EXPECT_EQ(out({}, "<|end_of_text|>"), "4095\n");
  EXPECT_THAT(out({"--plain"}, "<|end_of_text|>"), testing::Not(HasSubstr("4095")));
}

TEST(TokenizeCommand, ReadsTheVocabularyOfAGgufFile) {
  const test::TempDir dir;
  write_text_file(dir / "x.gguf", test::RawGguf()
                                      .text("tokenizer.ggml.model", "gpt2")
                                      .text("tokenizer.ggml.pre", "gpt-2")
                                      .texts("tokenizer.ggml.tokens", {"a", "b", "ab"})
                                      .texts("tokenizer.ggml.merges", {"a b"})
                                      .file());
  const Outcome outcome =
      run_program({"tokenize", dir / "x.gguf", "--separator", "\n__ggml_vocab_test__\n", "--json", dir / "r.json"},
                  "ab\n__ggml_vocab_test__\n\n__ggml_vocab_test__\nbaab");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "2\n\n1 0 2\n");
  const Json r = read_json(dir / "r.json")["result"];
  EXPECT_EQ(r["texts"], 3);
  EXPECT_EQ(r["tokens"], 4);
}

TEST(TokenizeCommand, AFileThatHoldsNoTokenizerExitsWith3) {
  const test::TempDir dir;
  write_text_file(dir / "x.gguf", "GGUF");
  const Outcome outcome = run_program({"tokenize", dir / "x.gguf"}, "a");
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, StartsWith("scalebits tokenize: error: ["));
  EXPECT_THAT(outcome.err, HasSubstr("Was the file truncated?"));
  EXPECT_EQ(run_program({"tokenize", dir.path()}, "a").exit_code, 3);
}

TEST(TokenizeCommand, BadIdsExitWith3AndNameTheLine) {
  const Outcome outcome = run_program({"tokenize", demo(), "--decode"}, "1 2 3\n4 five\n");
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("[stdin:2] token id: got \"five\""));
}

}  // namespace
}  // namespace scalebits
