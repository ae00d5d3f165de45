// SPDX-License-Identifier: Apache-2.0
/// quantize, export and their results, end to end on the embedded model with little calibration.
#include <csignal>
#include <thread>

#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "scalebits/io/safetensors.h"
#include "tests/cli/quantize_program.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::run_program;
using testing::HasSubstr;

using Quantize = test::QuantizeProgram;

TEST_F(Quantize, WritesASoundModelWithinTheBudget) {
  const Outcome outcome = quantize("out", {"--json", dir_ / "r.json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json r = read_json(dir_ / "r.json")["result"];
  for (const char* key : {"target_bpw", "bpw", "code_bits", "quantized_bytes", "file_bytes", "seconds",
                          "peak_rss_bytes", "heldout_kl", "iterations"}) {
    EXPECT_TRUE(r.contains(key)) << key;
  }
  EXPECT_LE(r["bpw"], 2.5);
  EXPECT_GE(r["bpw"], 2.5 * 0.995);
  EXPECT_EQ(r["iterations"], 2);
  EXPECT_EQ(r["file_bytes"], fs::file_size(dir_ / "out/model.safetensors"));
  EXPECT_EQ(run_program({"verify", dir_ / "out"}).exit_code, 0);
  EXPECT_EQ(run_program({"generate", dir_ / "out", "--prompt", "Once", "-n", "4"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(dir_ / "out.work"));
}

TEST_F(Quantize, ErrorCompensationLowersTheHeldOutLossAndRepeatsItself) {
  // Enough tokens for Hessians of 128 and 640 channels.
  const auto with = [&](const std::string& out, std::vector<std::string> more) {
    more.insert(more.end(), {"--nsamples", "16", "--seqlen", "256", "--json", dir_ / (out + ".json")});
    const Outcome outcome = quantize(out, more);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return read_json(dir_ / (out + ".json"))["result"];
  };
  const Json clip = with("clip", {"--quantizer", "clip"}), gptq = with("gptq", {});
  EXPECT_LT(gptq["heldout_kl"], 0.95 * clip["heldout_kl"].get<double>());
  EXPECT_NEAR(gptq["quantized_bytes"], clip["quantized_bytes"], 0.005 * clip["quantized_bytes"].get<double>());
  EXPECT_EQ(read_json(dir_ / "gptq/plan.json")["heldout_kl"], gptq["heldout_kl"]);
  EXPECT_EQ(run_program({"verify", dir_ / "gptq"}).exit_code, 0);
  with("again", {"--plan", dir_ / "gptq/plan.json", "--threads", "1"});
  EXPECT_EQ(weights("gptq"), weights("again"));
  EXPECT_FALSE(fs::exists(dir_ / "again.work"));
}

TEST_F(Quantize, ErrorCompensationThatOverfitsIsNotWritten) {
  // 3 x 64 tokens for 640 channels.
  const Outcome outcome = quantize("gptq", {"--json", dir_ / "gptq.json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("worse"));
  EXPECT_EQ(read_json(dir_ / "gptq/plan.json")["quantizer"], "clip");
  // The guard compares what would be written, and that is what was written.
  const Json r = read_json(dir_ / "gptq.json")["result"];
  const Json written = r["guard"]["plans"][r["guard"]["written"].get<std::string>()];
  EXPECT_EQ(written["written_loss"], written["heldout_loss"]);
  EXPECT_EQ(r["heldout_kl"], written["heldout_loss"]);
  ASSERT_EQ(quantize("clip", {"--plan", dir_ / "gptq/plan.json"}).exit_code, 0);
  EXPECT_EQ(weights("gptq"), weights("clip"));
}

TEST_F(Quantize, EveryMethodKeepsTheBudgetAndUsesIt) {
  for (const char* method : {"search", "uniform", "matrix", "threshold", "random"}) {
    // No iteration at all: the widths still have to fill the budget.
    ASSERT_EQ(quantize(method, {"--method", method, "--iterations", "0", "--json", dir_ / "r.json"}).exit_code, 0);
    const Json r = read_json(dir_ / "r.json")["result"];
    EXPECT_LE(r["quantized_bytes"], r["budget_bytes"]) << method;
    // A matrix is up to 4 % of this model and moves as a whole.
    EXPECT_GE(r["quantized_bytes"], r["budget_bytes"].get<double>() * (std::string(method) == "matrix" ? 0.96 : 0.99));
  }
}

TEST_F(Quantize, SaysHowGoodThePlanIsAndKeepsIt) {
  const Outcome outcome = quantize("out", {"--json", dir_ / "r.json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json r = read_json(dir_ / "r.json")["result"], plan = read_json(dir_ / "out/plan.json");
  EXPECT_THAT(outcome.out, testing::AllOf(HasSubstr("\ncertificate   predicted "), HasSubstr(" of at most "),
                                          HasSubstr("\nguard         held-out loss search "), HasSubstr(" is written"),
                                          HasSubstr("\nlayer 5       blocks by bits  ")));
  EXPECT_EQ(plan["certificate"], r["certificate"]);
  EXPECT_LE(r["certificate"]["predicted"], r["certificate"]["bound"]);
  double least = 1e9;
  for (const char* method : {"search", "uniform", "matrix"}) {
    least = std::min(least, r["guard"]["plans"][method]["written_loss"].get<double>());
  }
  EXPECT_EQ(r["guard"]["plans"][r["guard"]["written"].get<std::string>()]["written_loss"], least);
  EXPECT_EQ(r["heldout_kl"], least);
  EXPECT_GT(r["guard"]["seconds"], 0.0);
  EXPECT_EQ(plan["guard"]["plans"], r["guard"]["plans"]);
  // Every block of 64 x 128 of the 6 layers is counted once.
  ASSERT_EQ(r["histogram"].size(), 6U);
  int64_t blocks = 0;
  for (const Json& layer : r["histogram"]) {
    ASSERT_EQ(layer["blocks_by_bits"].size(), 8U);
    for (const Json& n : layer["blocks_by_bits"]) blocks += n.get<int64_t>();
  }
  EXPECT_EQ(blocks, 4'128'768 / (64 * 128));
}

TEST_F(Quantize, WithoutAGuardThereIsNoComparison) {
  const Outcome outcome = quantize("out", {"--no-guard", "--json", dir_ / "r.json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::Not(HasSubstr("guard")));
  EXPECT_FALSE(read_json(dir_ / "r.json")["result"].contains("guard"));
}

TEST_F(Quantize, GivenWidthsStayAndAreKeptInThePlan) {
  const std::vector<std::string> rules = {"--tensor-type", "down_proj=3", "--tensor-type", "0[.]mlp[.]down_proj=5",
                                          "--tensor-type", "k_proj=none", "--ignore",      "v_proj"};
  for (const char* method : {"search", "uniform", "matrix", "threshold", "random"}) {
    std::vector<std::string> more = {"--method", method, "--json", dir_ / "r.json"};
    more.insert(more.end(), rules.begin(), rules.end());
    const Outcome outcome = quantize(method, more);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    // By hand: of 42 layers with 4,128,768 weights, 12 of 256 x 128 stay dense.
    EXPECT_THAT(outcome.out, testing::AllOf(HasSubstr("30 linear layers, 3,735,552 weights"),
                                            HasSubstr("left dense    12 more linear layers"),
                                            HasSubstr("5 linear layers at 3 bits"), HasSubstr("1 linear layers at 5")));
    const Json r = read_json(dir_ / "r.json")["result"];
    EXPECT_LE(r["quantized_bytes"], r["budget_bytes"]);
    EXPECT_EQ(r["budget_bytes"], 3'735'552 * 5 / 16);  // 2.5 bits
    const Json plan = read_json(dir_ / (std::string(method) + "/plan.json"));
    EXPECT_EQ(plan["tensor_type"], (Json{"down_proj=3", "0[.]mlp[.]down_proj=5", "k_proj=none"}));
    EXPECT_EQ(plan["ignore"], Json{"v_proj"});
    EXPECT_EQ(plan["linears"].size(), 30U);
  }
  // The plan alone says which layers stay dense.
  const Outcome again = quantize("again", {"--plan", dir_ / "search/plan.json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("30 linear layers, 3,735,552 weights"));
  EXPECT_EQ(weights("again"), weights("search"));
}

TEST_F(Quantize, OneValueFollowsIgnore) {
  std::vector<std::string> all = arguments("out", {"--dry-run"});
  all.erase(all.begin() + 1);
  all.insert(all.begin() + 1, {"--ignore", "v_proj", test::demo_model().string()});
  EXPECT_EQ(run_program(all).exit_code, 0);
}

TEST_F(Quantize, OrdersOfTheirOwnAreCountedAppliedAndExported) {
  const std::vector<std::string> fused = {"--reorder-mode", "fused", "--tie", "fused"};
  const Outcome outcome = quantize("out", fused);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  // By hand, 6 layers: rows of q k v o gate up down, columns of q o gate down, 2 bytes each.
  EXPECT_THAT(outcome.out, HasSubstr("permutations  44,544 bytes"));
  const Json plan = read_json(dir_ / "out/plan.json");
  EXPECT_LE(plan["bytes"], plan["budget_bytes"]);
  EXPECT_EQ(plan["reorder_mode"], "fused");
  EXPECT_EQ(run_program({"verify", dir_ / "out"}).exit_code, 0);
  EXPECT_THAT(run_program({"inspect", dir_ / "out"}).out,
              testing::AllOf(HasSubstr("reorder both fused, tied"), HasSubstr("permutations 44,544")));
  EXPECT_EQ(run_program({"generate", dir_ / "out", "--prompt", "Once", "-n", "4"}).exit_code, 0);
  ASSERT_EQ(quantize("again", {"--plan", dir_ / "out/plan.json"}).exit_code, 0);
  EXPECT_EQ(weights("out"), weights("again"));
  ASSERT_EQ(run_program({"export", dir_ / "out", "-o", dir_ / "dense"}).exit_code, 0);
  const std::string reader = (test::source_dir() / "tools/golden/packed_reader.py").string();
  const std::string command =
      "/usr/bin/python3 " + reader + " " + (dir_ / "out").string() + " " + (dir_ / "dense").string() + " > /dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::vector<std::string> dry = {"--dry-run", "--json", dir_ / "r.json"};
  dry.insert(dry.end(), fused.begin(), fused.end());
  ASSERT_EQ(quantize("none", dry).exit_code, 0);
  EXPECT_EQ(read_json(dir_ / "r.json")["result"]["permutation_bytes"], 44'544);
  // Folded orders of columns are always shared: accepted, and nothing is stored.
  const Outcome folded = quantize("folded", {"--tie", "fused", "--method", "uniform"});
  EXPECT_EQ(folded.exit_code, 0) << folded.err;
  EXPECT_THAT(folded.out, testing::Not(HasSubstr("permutations")));
  EXPECT_EQ(run_program({"verify", dir_ / "folded"}).exit_code, 0);
}

TEST_F(Quantize, TargetSizeIsTheSizeOfTheWeightFile) {
  const Outcome outcome = quantize("out", {"--target-size", "3.5M", "--method", "uniform"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const uintmax_t size = fs::file_size(dir_ / "out/model.safetensors");
  EXPECT_LE(size, 3'500'000U);
  EXPECT_GE(size, 3'480'000U);
}

TEST_F(Quantize, DryRunPrintsSizesAndWritesNothing) {
  const Outcome outcome = quantize("out", {"--dry-run", "--json", dir_ / "r.json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::AllOf(HasSubstr("reachable"), HasSubstr("budget"), HasSubstr("memory")));
  EXPECT_EQ(read_json(dir_ / "r.json")["result"]["budget_bytes"], 1290240);  // 2.5 x 4,128,768 / 8
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

TEST_F(Quantize, ABudgetOutOfReachIsRefusedWithBothEnds) {
  for (const char* bpw : {"0.5", "9"}) {
    std::vector<std::string> all = arguments("out");
    *(std::find(all.begin(), all.end(), "--target-bpw") + 1) = bpw;
    const Outcome outcome = run_program(all);
    EXPECT_EQ(outcome.exit_code, 2);
    // By hand: per 128 weights of a row 8 bits of scale and 2 (9 at most 8) bits of zero; 8 bits a block of 64 x 128.
    EXPECT_THAT(outcome.err,
                testing::AllOf(HasSubstr("--target-bpw " + std::string(bpw)), HasSubstr("1.0791 to 8.1260 bpw")));
    EXPECT_FALSE(fs::exists(dir_ / "out"));
  }
}

TEST_F(Quantize, ADirectoryThatIsNotOursIsLeftAlone) {
  fs::create_directories(dir_ / "out");
  write_text_file(dir_ / "out/thesis.txt", "my only copy");
  const Outcome outcome = quantize("out");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("was not written by scalebits"));
  EXPECT_EQ(read_text_file(dir_ / "out/thesis.txt"), "my only copy");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ / "out"), {}), 1);
}

TEST_F(Quantize, ReplacesAModelOfItsOwn) {
  ASSERT_EQ(quantize("out", {"--method", "uniform"}).exit_code, 0);
  const std::string before = weights("out");
  // Also one of another version, which this one cannot read.
  std::string config = read_text_file(dir_ / "out/config.json");
  const std::string version = "\"version\": 2";
  ASSERT_NE(config.find(version), std::string::npos);
  config.replace(config.find(version), version.size(), "\"version\": 1");
  write_text_file(dir_ / "out/config.json", config);
  ASSERT_EQ(quantize("out", {"--method", "random"}).exit_code, 0);
  EXPECT_NE(before, weights("out"));
}

TEST_F(Quantize, StoppedRunGoesOnToTheSamePlan) {
  const std::vector<std::string> more = {"--iterations", "6", "--reorder-mode", "fused"};
  ASSERT_EQ(quantize("whole", more).exit_code, 0);
  test::Program stopped(arguments("parts", more));
  for (int i = 0; i < 6000 && !fs::exists(dir_ / "parts.work/search.json"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  stopped.signal(SIGINT);
  const Outcome first = stopped.wait();
  ASSERT_EQ(first.exit_code, 75) << first.err;
  EXPECT_FALSE(fs::exists(dir_ / "parts"));
  std::vector<std::string> resumed = more;
  resumed.insert(resumed.end(), {"--resume", "required"});
  const Outcome second = quantize("parts", resumed);
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(weights("whole"), weights("parts"));
}

TEST_F(Quantize, RequiredResumeWithoutAStateIsRefused) {
  const Outcome outcome = quantize("out", {"--resume", "required"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("there is no"));
}

TEST_F(Quantize, StatisticsAreKeptAndUsedAgain) {
  ASSERT_EQ(quantize("first", {"--stats", dir_ / "stats"}).exit_code, 0);
  const fs::file_time_type written = fs::last_write_time(dir_ / "stats");
  ASSERT_EQ(quantize("second", {"--stats", dir_ / "stats"}).exit_code, 0);
  EXPECT_EQ(fs::last_write_time(dir_ / "stats"), written);
  EXPECT_EQ(weights("first"), weights("second"));
}

TEST_F(Quantize, ExportIsADenseModelForOtherTools) {
  ASSERT_EQ(quantize("out", {"--method", "uniform"}).exit_code, 0);
  ASSERT_EQ(run_program({"export", dir_ / "out", "-o", dir_ / "dense"}).exit_code, 0);
  const Json config = read_json(dir_ / "dense/config.json");
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_TRUE(Checkpoint(dir_ / "dense").contains("model.layers.5.mlp.down_proj.weight"));
  EXPECT_EQ(read_text_file(dir_ / "dense/tokenizer.json"), read_text_file(test::demo_model() / "tokenizer.json"));
  // A reader that shares no code with us decodes the packed bytes to the same numbers.
  const std::string reader = (test::source_dir() / "tools/golden/packed_reader.py").string();
  const std::string command =
      "/usr/bin/python3 " + reader + " " + (dir_ / "out").string() + " " + (dir_ / "dense").string() + " > /dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
}

}  // namespace
}  // namespace scalebits
