// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/coverage.h"

#include <gmock/gmock.h>

#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/sensitivity.h"
#include "tests/calibrate/routed_by_token.h"

namespace scalebits::test {
namespace {

using ::testing::ElementsAre;

TEST(Coverage, CountsTheTokensOfEveryExpert) {
  const TempDir dir;
  write_routed_by_token(dir.path());
  const std::vector<Sequence> sequences = {{1, 50, 3, 60, 70}, {80, 9, 90}, {10}};
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    const auto coverage = expert_coverage(*open_dense_model(dir.path()), sequences);
    ASSERT_EQ(coverage.size(), 2U);
    EXPECT_EQ(coverage[1].layer, 1);
    // 1, 3 and 9 of nine tokens are below 10.
    EXPECT_THAT(coverage[1].tokens, ElementsAre(0, 6, 3, 6, 0, 3, 0, 0));
    EXPECT_DOUBLE_EQ(coverage[1].mean(), 18.0 / 8);
    EXPECT_THAT(coverage[1].rare(), ElementsAre(0, 4, 6, 7));
  }
  set_num_threads(0);
}

TEST(Coverage, HasLayersWithExpertsAlone) {
  const auto coverage =
      expert_coverage(*open_dense_model(golden_dir() / "moe/qwen3_moe"), std::vector<Sequence>{{1, 2}});
  ASSERT_EQ(coverage.size(), 1U);
  EXPECT_EQ(coverage[0].layer, 1);
  EXPECT_TRUE(expert_coverage(*open_dense_model(tiny_gqa()), std::vector<Sequence>{{1, 2}}).empty());
}

TEST(Coverage, RareIsLessThanATenthOfTheMean) {
  EXPECT_THAT((LayerCoverage{0, {10, 11, 200, 189}}.rare()), ElementsAre(0));  // the mean is 102.5
}

/// Blocks of an expert that no token goes to have nothing to gain, and with every token for every expert they have.
TEST(Coverage, AnExpertWithoutTokensHasNoSensitivityUnlessEveryTokenCounts) {
  const TempDir dir;
  write_routed_by_token(dir.path());
  const ModelConfig config = read_hf_config(dir.path());
  QuantizedWeights weights(open_dense_model(dir.path()), find_quantized_layers(config, {16, 16, 16}),
                           group_quantizer("clip"));
  weights.set_uniform(3);
  PassOptions pass;
  pass.loss = LossKind::kCe;
  for (const bool every : {false, true}) {
    pass.every_expert = every;
    std::vector<PassResult> results;
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      results.push_back(gradient_pass(weights, std::vector<Sequence>{{1, 50, 3, 60, 70}, {80, 9, 90}}, {}, pass));
    }
    set_num_threads(0);
    const auto fisher = [&](size_t result, Slot slot) {
      return results[result].linears[static_cast<size_t>(weights.item_of(1, slot))].blocks[0].fisher;
    };
    for (int64_t e = 0; e < 8; ++e) {
      const bool seen = every || e == 1 || e == 2 || e == 3 || e == 5;
      for (const Proj p : {Proj::kGate, Proj::kUp, Proj::kDown}) {
        EXPECT_EQ(fisher(0, {p, e}) > 0, seen) << e;
        EXPECT_EQ(fisher(0, {p, e}), fisher(1, {p, e}));  // whatever the threads
      }
    }
  }
}

}  // namespace
}  // namespace scalebits::test
