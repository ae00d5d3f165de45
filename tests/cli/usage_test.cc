// SPDX-License-Identifier: Apache-2.0
/// What holds for all commands: exit codes, messages, common flags.
#include <csignal>
#include <thread>

#include "scalebits/io/json.h"
#include "tests/cli/run_program.h"

namespace scalebits {
namespace {

using test::Outcome;
using test::run_program;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

std::string demo() { return test::demo_model().string(); }

/// One line on stderr, nothing on stdout.
void expect_error(const Outcome& outcome, int exit_code, const std::string& start, const std::string& part) {
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
  EXPECT_THAT(outcome.err, StartsWith(start));
  EXPECT_THAT(outcome.err, HasSubstr(part));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

TEST(Usage, HelpAndVersionGoToStdout) {
  const Outcome help = run_program({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command : {"eval", "chat", "generate", "tokenize", "inspect", "verify"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
    EXPECT_EQ(run_program({command, "--help"}).exit_code, 0) << command;
  }
  EXPECT_EQ(help.err, "");
  const Outcome version = run_program({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, MatchesRegex("scalebits [0-9.]+ \\([^)]+\\)\n"));
}

TEST(Usage, WrongCommandLinesExitWith2) {
  expect_error(run_program({}), 2, "scalebits: error: ", "A subcommand is required");
  expect_error(run_program({"frobnicate"}), 2, "scalebits: error: ", "Run with --help");
  expect_error(run_program({"eval"}), 2, "scalebits eval: error: ", "A subcommand is required");
  expect_error(run_program({"eval", "ppl", demo()}), 2, "scalebits eval: error: ", "--text is required");
  expect_error(run_program({"eval", "kl", demo(), "--text", "x"}), 2, "scalebits eval: error: ", "--ref is required");
  expect_error(run_program({"verify", demo(), "--frobnicate"}), 2, "scalebits verify: error: ", "--frobnicate");
  expect_error(run_program({"verify", demo(), "--threads", "-1"}), 2, "scalebits verify: error: ", "--threads");
  expect_error(run_program({"generate", demo()}), 2,
               "scalebits generate: error: ", "[-p,--prompt,-f,--prompt-file] is required");
}

TEST(Usage, AMissingModelExitsWith1AndNamesIt) {
  for (const char* command : {"inspect", "verify"}) {
    expect_error(run_program({command, "/no/such/model"}), 1,
                 std::string("scalebits ") + command + ": error: [/no/such/model", "o such");
  }
}

TEST(Usage, ADirectoryThatIsNoModelExitsWith3) {
  const test::TempDir dir;
  std::ofstream(dir / "config.json") << "{\"architectures\": [\"LlamaForCausalLM\"";
  expect_error(run_program({"inspect", dir.path().string()}), 3, "scalebits inspect: error: [", "config.json");
  std::ofstream(dir / "config.json") << R"({"architectures": ["BertModel"], "model_type": "bert"})";
  expect_error(run_program({"inspect", dir.path().string()}), 3, "scalebits inspect: error: [", "ert");
}

TEST(Usage, AnEmptyNameForTheRecordIsRefused) {
  expect_error(run_program({"inspect", demo(), "--json", ""}), 2, "scalebits inspect: error: --json", "got \"\"");
}

TEST(Usage, ARecordThatCannotBeWrittenExitsWith1) {
  const Outcome outcome = run_program({"inspect", demo(), "--json", "/no/such/directory/r.json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, StartsWith("scalebits inspect: error: [/no/such/directory"));
}

TEST(Usage, AForcedInstructionSetThatIsNotThereExitsWith1) {
  setenv("SCALEBITS_ISA", "frobnicate", 1);
  const test::TempDir dir;
  const Outcome outcome = run_program({"inspect", demo(), "--json", dir / "r.json"});
  unsetenv("SCALEBITS_ISA");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("frobnicate"));
}

TEST(Usage, TheRecordNamesCommandArgumentsAndMachine) {
  const test::TempDir dir;
  ASSERT_EQ(run_program({"inspect", demo(), "--json", dir / "r.json"}).exit_code, 0);
  const Json record = read_json(dir / "r.json");
  EXPECT_EQ(record["command"], "inspect");
  EXPECT_EQ(record["arguments"], Json({"inspect", demo(), "--json", (dir / "r.json").string()}));
  EXPECT_EQ(record["result"]["parameters"], 5180672);
  EXPECT_TRUE(record["machine"].contains("isa"));
}

/// A text that takes the demo model a while.
std::filesystem::path long_text(const test::TempDir& dir) {
  std::ofstream file(dir / "long.txt");
  for (int i = 0; i < 60000; ++i) file << "The " << i << " horses went home. ";
  return dir / "long.txt";
}

TEST(Usage, CtrlCStopsWith75) {
  const test::TempDir dir;
  test::Program program({"eval", "ppl", demo(), "--text", long_text(dir).string(), "--json", dir / "r.json"});
  // What was printed before the work began shows that the handler is there.
  for (int i = 0; i < 600 && program.out().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  program.signal(SIGINT);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.exit_code, 75) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("scalebits eval: error: "));
  EXPECT_FALSE(std::filesystem::exists(dir / "r.json"));
}

/// A signal that reaches a thread inside a product of oneDNN corrupts the heap; it must never get there. One run in
/// eight crashed while signals could be taken by any thread.
TEST(Usage, CtrlCInTheMiddleOfAProductIsHarmless) {
  const test::TempDir dir;
  const std::string text = long_text(dir).string();
  for (int run = 0; run < 12; ++run) {
    test::Program program({"eval", "ppl", demo(), "--text", text});
    for (int i = 0; i < 6000 && program.out().empty(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(20 * run));
    program.signal(SIGINT);
    const Outcome outcome = program.wait();
    ASSERT_EQ(outcome.exit_code, 75) << "stopped after " << 20 * run << " ms: " << outcome.err;
  }
}

}  // namespace
}  // namespace scalebits
