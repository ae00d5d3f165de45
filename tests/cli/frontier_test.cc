// SPDX-License-Identifier: Apache-2.0
/// quantize --frontier and the plans cut from what it writes, on the embedded model with little calibration.
#include <csignal>
#include <thread>

#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "tests/cli/run_program.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::run_program;
using testing::AllOf;
using testing::HasSubstr;

class FrontierCommand : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> arguments(const std::string& out, std::vector<std::string> more) const {
    std::vector<std::string> all = {"quantize", test::demo_model().string(),
                                    "-o",       dir_ / out,
                                    "--quiet",  "--nsamples",
                                    "4",        "--seqlen",
                                    "64",       "--quantizer",
                                    "clip"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  /// Three budgets in a few seconds.
  [[nodiscard]] std::vector<std::string> frontier(std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"--frontier", "2.4:2.8:0.2", "--iterations", "3"});
    return more;
  }
  Outcome quantize(const std::string& out, const std::vector<std::string>& more) const {
    return run_program(arguments(out, more));
  }
  void expect_refusal(const std::vector<std::string>& more, int exit_code, const std::string& text) const {
    const Outcome outcome = quantize("refused", more);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(testing::StartsWith("scalebits quantize: error: "), HasSubstr(text)));
    EXPECT_FALSE(fs::exists(dir_ / "refused"));
  }
  test::TempDir dir_;
};

TEST_F(FrontierCommand, WritesAllBudgetsAndCutsPlansFromThem) {
  const Outcome outcome = quantize("f", frontier({"--json", dir_ / "f.json"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("frontier      3 budgets from 2.4000 to 2.8000 bpw"), HasSubstr("\n              2.5")));
  EXPECT_FALSE(fs::exists(dir_ / "f.work"));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ / "f"), {}), 1);
  const Json record = read_json(dir_ / "f.json")["result"]["frontier"], stored = read_json(dir_ / "f/frontier.json");
  ASSERT_EQ(record.size(), 3U);
  ASSERT_EQ(stored["points"].size(), 3U);
  double before = 1e9;
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(record[k]["budget_bytes"], static_cast<int64_t>((2.4 + 0.2 * static_cast<double>(k)) * 4'128'768 / 8));
    EXPECT_LE(record[k]["quantized_bytes"], record[k]["budget_bytes"]);
    EXPECT_GE(record[k]["quantized_bytes"], 0.995 * record[k]["budget_bytes"].get<double>());
    EXPECT_LT(record[k]["heldout_kl"], before);
    EXPECT_EQ(stored["points"][k]["heldout_loss"], record[k]["heldout_loss"]);
    before = record[k]["heldout_kl"];
  }

  // A stored budget: its plan. One between: within the budget, nearly all of it, and better than the one below.
  for (const auto& [bpw, name] : {std::pair{"2.6", "stored"}, {"2.7", "between"}}) {
    const Outcome cut = quantize(name, {"--plan", dir_ / "f", "--target-bpw", bpw, "--json", dir_ / "r.json"});
    ASSERT_EQ(cut.exit_code, 0) << cut.err;
    EXPECT_THAT(cut.out, HasSubstr("\ncut           "));
    const Json r = read_json(dir_ / "r.json")["result"];
    EXPECT_LE(r["quantized_bytes"], r["budget_bytes"]);
    EXPECT_GE(r["quantized_bytes"], 0.995 * r["budget_bytes"].get<double>());
    EXPECT_EQ(run_program({"verify", dir_ / name}).exit_code, 0);
  }
  const Json plan = read_json(dir_ / "stored/plan.json");
  for (size_t i = 0; i < plan["linears"].size(); ++i) {
    EXPECT_EQ(plan["linears"][i]["bits"], stored["points"][1]["widths"][i]);
  }
  EXPECT_EQ(plan["order"], stored["plan"]["order"]);
  EXPECT_EQ(plan["quantizer"], "clip");
  const Outcome other =
      run_program({"quantize", test::demo_model().string(), "-o", dir_ / "other", "--plan", dir_ / "f", "--target-bpw",
                   "2.6", "--quantizer", "gptq", "--nsamples", "4", "--seqlen", "64"});
  ASSERT_EQ(other.exit_code, 0) << other.err;
  EXPECT_EQ(read_json(dir_ / "other/plan.json")["quantizer"], "gptq");

  // The whole packed file within a size; nothing written in a dry run.
  const Outcome dry = quantize(
      "dry", {"--plan", dir_ / "f/frontier.json", "--target-size", "3.5M", "--dry-run", "--json", dir_ / "d.json"});
  ASSERT_EQ(dry.exit_code, 0) << dry.err;
  const Json d = read_json(dir_ / "d.json")["result"];
  EXPECT_LE(d["cut_bytes"], d["budget_bytes"]);
  EXPECT_LE(d["file_bytes_at_most"], 3'500'000);
  EXPECT_FALSE(fs::exists(dir_ / "dry"));

  // Refusals that need a frontier.
  expect_refusal({"--plan", dir_ / "f"}, 2, "It holds 2.4000, 2.6000, 2.8000 bpw");
  for (const char* bpw : {"2.3", "2.81"})
    expect_refusal({"--plan", dir_ / "f", "--target-bpw", bpw}, 2, "to 2.8000 bpw");
  expect_refusal({"--plan", dir_ / "stored/plan.json", "--target-bpw", "2.5"}, 2, "expected a frontier");
  const Outcome onto = quantize("f", {"--plan", dir_ / "f", "--target-bpw", "2.5"});
  EXPECT_EQ(onto.exit_code, 2);
  EXPECT_THAT(onto.err, HasSubstr("holds a frontier"));
  EXPECT_EQ(read_json(dir_ / "f/frontier.json"), stored);
  write_text_file(dir_ / "f/frontier.json", "{\"format\":\"scalebits-frontier\"}");
  expect_refusal({"--plan", dir_ / "f", "--target-bpw", "2.5"}, 3, "frontier.json");
}

TEST_F(FrontierCommand, IsTheSameFileAfterAStopAndWithOtherThreads) {
  ASSERT_EQ(quantize("whole", frontier({"--threads", "2"})).exit_code, 0);
  test::Program stopped(arguments("parts", frontier({"--threads", "1"})));
  const auto second_point = [&] {
    return fs::exists(dir_ / "parts.work/search.json") &&
           read_text_file(dir_ / "parts.work/search.json").find("\"frontier\"") != std::string::npos;
  };
  for (int i = 0; i < 6000 && !second_point(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  stopped.signal(SIGINT);
  const Outcome first = stopped.wait();
  ASSERT_EQ(first.exit_code, 75) << first.err;
  EXPECT_FALSE(fs::exists(dir_ / "parts"));
  ASSERT_EQ(quantize("parts", frontier({"--resume", "required"})).exit_code, 0);
  EXPECT_EQ(read_text_file(dir_ / "parts/frontier.json"), read_text_file(dir_ / "whole/frontier.json"));
}

TEST_F(FrontierCommand, ReplacesAFrontierAndNothingElse) {
  fs::create_directories(dir_ / "f");
  write_text_file(dir_ / "f/frontier.json", "{\"format\":\"scalebits-frontier\"}");
  write_text_file(dir_ / "f/thesis.txt", "my only copy");
  const Outcome refused = quantize("f", frontier());
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(read_text_file(dir_ / "f/thesis.txt"), "my only copy");
  fs::remove(dir_ / "f/thesis.txt");
  EXPECT_EQ(quantize("f", frontier()).exit_code, 0);
}

TEST_F(FrontierCommand, WrongFlagsSayWhatIsExpected) {
  for (const char* range : {"2.5", "2:3", "2:3:0", "2:3:-1", "3:2:0.5", "a:b:c", "2:3:0.5x", "2:nan:0.5", "2:inf:1",
                            "-2:3:0.5", "2:3:0.5:1"}) {
    expect_refusal({"--frontier", range}, 2, "expected FROM:TO:STEP");
  }
  expect_refusal({"--frontier", "2:4:0.01"}, 2, "more than 64 budgets");
  expect_refusal({"--frontier", "2:4:1e-300"}, 2, "more than 64 budgets");
  expect_refusal({"--frontier", "2.5:2.50000001:0.000000005"}, 2, "the same");
  expect_refusal({"--frontier", "1:3:0.5"}, 2, "1.0801");
  expect_refusal({"--frontier", "2:9:0.5"}, 2, "8.1270 bpw");
  expect_refusal({"--frontier", "2:3:0.5", "--method", "uniform"}, 2, "expected search");
  expect_refusal({"--frontier", "2:3:0.5", "--target-bpw", "2.5"}, 2, "excludes");
  expect_refusal({"--frontier", "2:3:0.5", "--target-size", "3M"}, 2, "excludes");
  expect_refusal({"--frontier", "2:3:0.5", "--plan", "x"}, 2, "excludes");
  expect_refusal({"--target-bpw", "2.5", "--target-size", "3M"}, 2, "excludes");
}

}  // namespace
}  // namespace scalebits
