// SPDX-License-Identifier: Apache-2.0
/// chat: conversations through pipes, scripts and a terminal.
#include "scalebits/io/json.h"
#include "tests/cli/live_program.h"
#include "tests/run/chat_model.h"

namespace scalebits {
namespace {

using test::LiveProgram;
using test::Outcome;
using test::run_program;
using testing::HasSubstr;
using testing::Not;

class ChatCommand : public testing::Test {
 protected:
  ChatCommand() { test::make_chat_model(dir_ / "model"); }

  /// Greedy and short, unless the arguments say otherwise.
  [[nodiscard]] std::vector<std::string> arguments(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {"chat", dir_ / "model", "--temperature", "0", "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  /// An answer that takes as long as the context allows, and never ends by itself.
  [[nodiscard]] std::vector<std::string> endless() const {
    std::ofstream(dir_ / "model/chat_template.jinja") << "{{ messages[-1].content }}";
    return {"chat", dir_ / "model", "--threads", "1",       "-n", "500",     "--temperature",
            "5",    "--top-k",      "0",         "--top-p", "1",  "--min-p", "0"};
  }

  test::TempDir dir_;
};

TEST_F(ChatCommand, AnswersEveryLineOfStdinAndEndsWithIt) {
  const Outcome piped =
      run_program(arguments({"-n", "6", "--json", dir_ / "r.json"}), "Hello\n\nWho came?\r\nNo end of line");
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  const Json record = read_json(dir_ / "r.json")["result"];
  ASSERT_EQ(record["answers"].size(), 3U);
  std::string answers;
  for (const Json& answer : record["answers"]) answers += answer["answer"].get<std::string>() + "\n";
  EXPECT_EQ(piped.out, answers);  // and no prompt, where nobody types
  EXPECT_EQ(record["answers"][1]["message"], "Who came?");
  EXPECT_EQ(record["answers"][2]["message"], "No end of line");
  EXPECT_GT(record["answers"][1]["kept_tokens"], 0);
  EXPECT_EQ(record["answers"][0]["new_tokens"], 6);
  EXPECT_EQ(record["context"], 512);
  EXPECT_THAT(piped.err, HasSubstr("tokens/s"));
}

TEST_F(ChatCommand, MessagesOfTheCommandLineTakeThePlaceOfStdin) {
  const Outcome script =
      run_program(arguments({"-n", "6", "-m", "Hello", "--message", "Who came?", "--quiet"}), "not read\n");
  EXPECT_EQ(script.exit_code, 0) << script.err;
  EXPECT_EQ(script.err, "");
  EXPECT_EQ(script.out, run_program(arguments({"-n", "6"}), "Hello\nWho came?\n").out);
}

TEST_F(ChatCommand, ResetAndExitAreCommandsAndOthersAreRefused) {
  const Outcome outcome = run_program(arguments({"-n", "4"}), "Hello\n/rest\n/reset\nHello\n/exit\nHello\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("/rest is no command"));
  const size_t half = outcome.out.size() / 2;
  EXPECT_EQ(outcome.out.substr(0, half), outcome.out.substr(half));  // twice the same answer
}

TEST_F(ChatCommand, TheSystemMessageIsPartOfEveryConversation) {
  std::ofstream(dir_ / "model/chat_template.jinja") << "{{ messages[0].content }}";
  const Outcome with = run_program(arguments({"-n", "8", "--system", "It was a dark night", "-m", "x"}));
  EXPECT_EQ(with.exit_code, 0) << with.err;
  EXPECT_EQ(with.out, run_program(arguments({"-n", "8", "-m", "It was a dark night"})).out);
}

TEST_F(ChatCommand, AMessageThatDoesNotFitIsRefusedAndTheNextOneIsAnswered) {
  std::string words;
  for (int i = 0; i < 600; ++i) words += "word ";
  const Outcome outcome = run_program(arguments({"-n", "4"}), words + "\nHello\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("expected at most 512"));
  EXPECT_EQ(outcome.out, run_program(arguments({"-n", "4", "-m", "Hello"})).out);
  EXPECT_EQ(run_program(arguments({"-n", "4", "-m", words})).exit_code, 2);
}

TEST_F(ChatCommand, AModelWithoutATemplateExitsWith3AndPointsToGenerate) {
  const Outcome outcome = run_program({"chat", test::demo_model().string()});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("tokenizer_config.json] chat_template: missing"));
  EXPECT_THAT(outcome.err, HasSubstr("generate"));
  EXPECT_EQ(outcome.out, "");
}

TEST_F(ChatCommand, ASystemMessageThatTheTemplateRefusesExitsWith2) {
  const Outcome outcome = run_program(arguments({"--system", "forbidden"}), "Hello\n");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("the template refuses this: no such system message"));
}

/// The answer may have ended before the signal came, which then ends the program: so there are several attempts.
TEST_F(ChatCommand, CtrlCDuringAnAnswerStopsItAndTheNextMessageIsAnswered) {
  bool stopped = false;
  for (int attempt = 0; attempt < 40 && !stopped; ++attempt) {
    LiveProgram program(endless(), LiveProgram::Input::kPipe);
    ASSERT_TRUE(program.valid());
    program.say("It was a dark night and\n");
    ASSERT_TRUE(program.wait_for([&] { return program.out().size() > 3; })) << program.err();
    program.signal(SIGINT);
    ASSERT_TRUE(program.wait_for_error("stopped by ")) << program.err();
    stopped = program.err().find("stopped by Ctrl+C") != std::string::npos;
    if (!stopped) {
      EXPECT_EQ(program.wait(), 75) << program.err();
      continue;
    }
    const size_t before = program.out().size();
    program.say("Who\n");
    EXPECT_TRUE(program.wait_for([&] { return program.out().size() > before + 3; })) << program.err();
    program.end_input();
    EXPECT_EQ(program.wait(), 0) << program.err();
  }
  EXPECT_TRUE(stopped);
}

TEST_F(ChatCommand, CtrlCWithNothingToStopEndsWith75AndWritesTheRecord) {
  LiveProgram program(arguments({"-n", "2", "--json", dir_ / "r.json"}), LiveProgram::Input::kPipe);
  ASSERT_TRUE(program.valid());
  program.say("Hello\n");
  ASSERT_TRUE(program.wait_for_error("stopped by")) << program.err();
  program.signal(SIGINT);
  EXPECT_EQ(program.wait(), 75) << program.err();
  EXPECT_EQ(read_json(dir_ / "r.json")["result"]["answers"].size(), 1U);
}

TEST_F(ChatCommand, TheTermSignalEndsItWith75DuringAnAnswerToo) {
  LiveProgram program(endless(), LiveProgram::Input::kPipe);
  ASSERT_TRUE(program.valid());
  program.say("It was a dark night and\nnever answered\n");
  ASSERT_TRUE(program.wait_for([&] { return program.out().size() > 3; })) << program.err();
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 75) << program.err();
}

TEST_F(ChatCommand, OnATerminalItAsksAndEndsAtTheEndOfFileKey) {
  LiveProgram program(arguments({"-n", "3"}), LiveProgram::Input::kTerminal);
  if (!program.valid()) GTEST_SKIP() << "skipped: no pseudo-terminal here";
  ASSERT_TRUE(program.wait_for_output("> ")) << program.err();
  const size_t before = program.out().size();
  program.say("Hello\n");
  ASSERT_TRUE(program.wait_for_output("> ", before)) << program.err();
  program.say("\x04");
  EXPECT_EQ(program.wait(), 0) << program.err();
}

TEST_F(ChatCommand, AClosedStdinIsTheEndOfIt) {
  const Outcome outcome = run_program(arguments());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

}  // namespace
}  // namespace scalebits
