// SPDX-License-Identifier: Apache-2.0
/// quantize --plan: a plan gives the same bytes again, from the calibration text that it was made with.
#include "scalebits/io/json.h"
#include "tests/cli/quantize_program.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::run_program;
using testing::HasSubstr;
using testing::Not;

using QuantizePlan = test::QuantizeProgram;

TEST_F(QuantizePlan, SameBytesForOneAndTwoThreadsAndFromItsOwnPlan) {
  ASSERT_EQ(quantize("one", {"--threads", "1"}).exit_code, 0);
  ASSERT_EQ(quantize("two", {"--threads", "2"}).exit_code, 0);
  EXPECT_EQ(weights("one"), weights("two"));
  const std::string plan = dir_ / "one/plan.json";
  ASSERT_EQ(quantize("again", {"--plan", plan}).exit_code, 0);
  EXPECT_EQ(weights("one"), weights("again"));
  Json first = read_json(plan), second = read_json(dir_ / "two/plan.json");
  first.erase("trace");  // holds seconds
  second.erase("trace");
  EXPECT_EQ(first, second);
}

TEST_F(QuantizePlan, APlanIsRoundedByAnotherQuantizerWhereOneIsNamed) {
  // Enough tokens for the compensation, which would leave `clip` otherwise.
  ASSERT_EQ(quantize("out", {"--nsamples", "16", "--seqlen", "256", "--no-guard"}).exit_code, 0);
  const std::string plan = dir_ / "out/plan.json";
  ASSERT_EQ(quantize("clip", {"--plan", plan, "--quantizer", "clip"}).exit_code, 0);
  const Json first = read_json(plan), second = read_json(dir_ / "clip/plan.json");
  EXPECT_EQ(first["quantizer"], "gptq");
  EXPECT_EQ(second["quantizer"], "clip");
  EXPECT_EQ(first["linears"], second["linears"]);
  EXPECT_FALSE(weights("out") == weights("clip"));
  EXPECT_EQ(run_program({"verify", dir_ / "clip"}).exit_code, 0);
}

TEST_F(QuantizePlan, ClipWeighsErrorsByTheCalibrationTextAndRtnNeedsNone) {
  ASSERT_EQ(quantize("clip", {"--quantizer", "clip"}).exit_code, 0);
  const std::string plan = dir_ / "clip/plan.json";
  const Outcome again = quantize("again", {"--plan", plan});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(weights("clip"), weights("again"));
  EXPECT_THAT(again.err, HasSubstr("--block, --iterations: without effect beside --plan"));
  EXPECT_THAT(again.err, Not(HasSubstr("calibration")));
  const Outcome other = quantize("other", {"--plan", plan, "--seed", "1"});
  ASSERT_EQ(other.exit_code, 0) << other.err;
  EXPECT_THAT(other.err, HasSubstr("other calibration sequences"));
  EXPECT_FALSE(weights("clip") == weights("other"));
  // The text that was used is the plan's from then on.
  EXPECT_NE(read_json(plan)["calib_hash"], read_json(dir_ / "other/plan.json")["calib_hash"]);
  const Outcome third = quantize("third", {"--plan", dir_ / "other/plan.json", "--seed", "1"});
  EXPECT_THAT(third.err, Not(HasSubstr("calibration")));
  EXPECT_EQ(weights("other"), weights("third"));
  const std::string missing = dir_ / "no.txt";
  const Outcome none = quantize("none", {"--plan", plan, "--calib", missing});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("no.txt\", the plan was made with \"self\""));
  EXPECT_FALSE(fs::exists(dir_ / "none"));
  EXPECT_EQ(quantize("rtn", {"--plan", plan, "--quantizer", "rtn", "--calib", missing}).exit_code, 0);
}

TEST_F(QuantizePlan, WhatAPlanSaysOfItsCalibrationIsNoTrustedText) {
  ASSERT_EQ(quantize("out", {"--quantizer", "clip", "--method", "uniform"}).exit_code, 0);
  Json plan = read_json(dir_ / "out/plan.json");
  plan["calibration"] = "x\x1b[2Jy";
  write_text_file(dir_ / "plan.json", plan.dump());
  const Outcome odd = quantize("odd", {"--plan", dir_ / "plan.json"});
  EXPECT_EQ(odd.exit_code, 0) << odd.err;
  EXPECT_THAT(odd.err, testing::AllOf(HasSubstr(R"("x\x1b[2Jy")"), Not(HasSubstr("\x1b"))));
  plan["calibration"] = 7;
  write_text_file(dir_ / "plan.json", plan.dump());
  EXPECT_EQ(quantize("number", {"--plan", dir_ / "plan.json"}).exit_code, 0);
}

/// What is measured of layers is found by their place.
TEST_F(QuantizePlan, LayersInAnotherOrderThanTheModelsAreRefused) {
  ASSERT_EQ(quantize("out", {"--quantizer", "clip", "--method", "uniform"}).exit_code, 0);
  Json plan = read_json(dir_ / "out/plan.json");
  std::swap(plan["linears"][0], plan["linears"][3]);
  write_text_file(dir_ / "plan.json", plan.dump());
  for (const char* quantizer : {"rtn", "clip", "gptq"}) {
    const Outcome refused = quantize("other", {"--plan", dir_ / "plan.json", "--quantizer", quantizer});
    EXPECT_EQ(refused.exit_code, 3);
    EXPECT_THAT(refused.err, HasSubstr("linears[0]: got model.layers.0.self_attn.o_proj, expected "
                                       "model.layers.0.self_attn.q_proj"));
    EXPECT_FALSE(fs::exists(dir_ / "other"));
  }
}

}  // namespace
}  // namespace scalebits
