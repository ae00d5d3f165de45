// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/json.h"
#include "tests/cli/run_program.h"
#include "tests/report/packed_model.h"

namespace scalebits {
namespace {

using test::Outcome;
using test::run_program;
using testing::HasSubstr;

TEST(BenchCommand, MeasuresADenseAndAPackedModel) {
  const test::TempDir dir;
  test::pack_model(test::demo_model(), dir / "packed", {}, [](int64_t, Slot, int64_t) { return uint8_t{4}; });
  int64_t bytes[2] = {};
  for (const bool packed : {false, true}) {
    const std::string model = packed ? (dir / "packed").string() : test::demo_model().string();
    const Outcome outcome = run_program({"bench", "--model", model, "--pp", "8,40", "--tg", "4", "--repetitions", "2",
                                         "--threads", "1", "--json", dir / "r.json"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("| test | tokens/s |"));
    EXPECT_THAT(outcome.out, HasSubstr("| pp40 |"));
    const Json r = read_json(dir / "r.json")["result"];
    ASSERT_EQ(r["pp"].size(), 2U);
    ASSERT_EQ(r["tg"].size(), 1U);
    EXPECT_EQ(r["pp"][1]["tokens"], 40);
    for (const Json& speed : {r["pp"][0], r["pp"][1], r["tg"][0]}) {
      EXPECT_GT(speed["p10"].get<double>(), 0);
      EXPECT_LE(speed["p10"], speed["tps"]);
      EXPECT_LE(speed["tps"], speed["p90"]);
    }
    EXPECT_GT(r["first_token_seconds"].get<double>(), 0);
    bytes[packed] = r["bytes_per_token"].get<int64_t>();
  }
  // 4,128,768 weights of 42 matrices, at 4 bits and 0.10 for scales and zeros; the rest is the head.
  const double linear = 4'128'768, saved = static_cast<double>(bytes[0] - bytes[1]);
  EXPECT_NEAR(saved / linear, 2 - 4.10 / 8, 0.01);  // dense is bf16, where it lies in the file
}

TEST(BenchCommand, MeasuresKernelsBesideTheReadBandwidth) {
  const test::TempDir dir;
  const Outcome outcome = run_program({"bench", "--kernel", "--rows", "256", "--cols", "1024", "--repetitions", "2",
                                       "--threads", "2", "--json", dir / "r.json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json r = read_json(dir / "r.json")["result"];
  EXPECT_GT(r["read_gbps"].get<double>(), 0);
  ASSERT_EQ(r["kernels"].size(), 9U);
  for (const Json& k : r["kernels"]) {
    EXPECT_EQ(k["threads"], 2);
    EXPECT_GT(k["gbps"].get<double>(), 0);
    EXPECT_GT(k["share"].get<double>(), 0);
    // bytes a weight = GB/s * ns: codes, and 8 + zero bits for 128 weights.
    const double bits = k["gbps"].get<double>() * k["ns_per_weight"].get<double>() * 8;
    EXPECT_NEAR(bits, k["mean_bits"].get<double>() + 0.11, 0.05);
  }
  EXPECT_EQ(r["kernels"][2]["bits"], 3);
  EXPECT_EQ(r["kernels"][8]["bits"], "mixed");
  EXPECT_EQ(r["kernels"][8]["mean_bits"], 3.5);
}

TEST(BenchCommand, BadUsageExitsWith2) {
  EXPECT_EQ(run_program({"bench"}).exit_code, 2);
  EXPECT_EQ(run_program({"bench", "--kernel", test::demo_model().string()}).exit_code, 2);
  const Outcome long_prompt = run_program({"bench", test::demo_model().string(), "--pp", "513"});
  EXPECT_EQ(long_prompt.exit_code, 2);
  EXPECT_THAT(long_prompt.err, HasSubstr("got 513 tokens, expected at most 512"));
  const Outcome none = run_program({"bench", test::demo_model().string(), "--tg", "0"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, HasSubstr("[--pp, --tg] got 0 tokens, expected at least 1"));
  const Outcome rows = run_program({"bench", "--kernel", "--rows", "0"});
  EXPECT_EQ(rows.exit_code, 2);
  EXPECT_THAT(rows.err, HasSubstr("expected sides in 1..2^31"));
}

}  // namespace
}  // namespace scalebits
