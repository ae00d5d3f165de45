// SPDX-License-Identifier: Apache-2.0
// A search by blocks never gives a worse plan than the simple ones that it is compared with.
#include "scalebits/search/guard.h"

#include <gtest/gtest.h>

#include <set>

#include "scalebits/search/state_file.h"
#include "tests/calibrate/quantized_case.h"

namespace scalebits::test {
namespace {

class GuardedSearch : public ::testing::Test {
 protected:
  [[nodiscard]] SearchResult run(const SearchOptions& options, double bpw = 4.5, const SearchState* resume = nullptr,
                                 const std::function<void(const SearchState&)>& save = {}) const {
    return search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib_, budget_from_bpw(layers_, bpw),
                       options, silent_log(), resume, save);
  }
  [[nodiscard]] double heldout_loss(const FoldedOrder& order, const Widths& widths) const {
    const DenseWeights plain(checkpoint_, config_);
    QuantizedWeights weights(std::make_shared<DenseWeights>(checkpoint_, config_, order), layers_,
                             group_quantizer("rtn"));
    for (size_t i = 0; i < widths.size(); ++i) weights.set_bits(i, widths[i]);
    return mean_loss(LossKind::kKl, weights, calib_.heldout, reference_hidden(plain, calib_.heldout));
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny_gqa());
  const ModelConfig config_ = read_hf_config(tiny_gqa());
  const QuantizedLayers layers_ = find_quantized_layers(config_, kSmallBlocks);
  const CalibSet calib_ = split_calibration(random_sequences(8, 20, 1), "test");
};

TEST_F(GuardedSearch, GivesThePlanOfTheLeastHeldOutLoss) {
  std::set<size_t> written;
  for (const double bpw : {3.3, 3.6, 4.5, 5.25, 6.1}) {
    for (const int64_t iterations : {0, 1, 8}) {
      SCOPED_TRACE(testing::Message() << bpw << " bpw, " << iterations << " iterations");
      const SearchResult result = run({.max_iterations = iterations, .slice = 3}, bpw);
      ASSERT_TRUE(result.guard);
      ASSERT_EQ(result.guard->plans.size(), 3U);
      for (const GuardPlan& plan : result.guard->plans) {
        EXPECT_LE(result.heldout_loss, plan.heldout_loss) << plan.method;
        EXPECT_LE(plan.bytes, budget_from_bpw(layers_, bpw)) << plan.method;
      }
      const GuardPlan& best = result.guard->plans[result.guard->written];
      EXPECT_EQ(result.heldout_loss, best.heldout_loss);
      EXPECT_EQ(result.bytes, best.bytes);
      EXPECT_EQ(result.bytes, widths_bytes(layers_, result.widths));
      EXPECT_EQ(heldout_loss(result.order, result.widths), best.heldout_loss);
      written.insert(result.guard->written);
    }
  }
  EXPECT_GT(written.size(), 1U) << "the search should lose now and then when it is not allowed to search";
}

TEST_F(GuardedSearch, ComparesTheSearchAsItIsWithoutAGuard) {
  const SearchOptions plain{.max_iterations = 6, .slice = 3, .guard = false};
  SearchOptions guarded = plain;
  guarded.guard = true;
  const SearchResult without = run(plain), with = run(guarded);
  EXPECT_FALSE(without.guard);
  EXPECT_EQ(with.guard->plans[0].heldout_loss, without.heldout_loss);
  EXPECT_EQ(with.guard->plans[0].bytes, without.bytes);
  EXPECT_EQ(with.order, without.order);
  const Widths uniform = two_level_widths(layers_, budget_from_bpw(layers_, 4.5), {});
  EXPECT_EQ(with.guard->plans[1].heldout_loss, heldout_loss(with.order, uniform));
}

TEST_F(GuardedSearch, GoesOnFromAnySavedStateToTheSameResult) {
  const TempDir dir;
  const SearchOptions options{.max_iterations = 8, .slice = 3};
  std::vector<SearchState> states;
  const SearchResult whole = run(options, 4.5, nullptr, [&](const SearchState& s) { states.push_back(s); });
  int begun = 0, halfway = 0;
  for (const SearchState& state : states) {
    begun += state.guard ? 1 : 0;
    halfway += state.guard && state.guard->matrix && !state.guard->matrix->finished ? 1 : 0;
    save_search_state(dir / "search.json", state, layers_, "print");
    std::string why;
    const auto loaded = load_search_state(dir / "search.json", layers_, "print", why);
    ASSERT_TRUE(loaded) << why;
    const SearchResult resumed = run(options, 4.5, &*loaded);
    EXPECT_EQ(resumed.widths, whole.widths);
    EXPECT_EQ(resumed.heldout_loss, whole.heldout_loss);
    EXPECT_EQ(resumed.certificate->bound, whole.certificate->bound);
    EXPECT_EQ(resumed.trace.size(), whole.trace.size());
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(resumed.guard->plans[i].heldout_loss, whole.guard->plans[i].heldout_loss);
    }
  }
  EXPECT_GE(begun, 3);
  EXPECT_GE(halfway, 2);
}

TEST_F(GuardedSearch, TakesAFractionOfTheIterations) {
  for (const int64_t iterations : {0, 1, 12}) {
    SearchState last;
    (void)run({.max_iterations = iterations}, 4.5, nullptr, [&](const SearchState& s) { last = s; });
    ASSERT_TRUE(last.guard && last.guard->matrix);
    EXPECT_LE(last.guard->matrix->trace.size(), (last.trace.size() + 3) / 4);
    EXPECT_GT(last.guard->seconds, 0.0);
    for (const auto& of_matrix : last.guard->matrix->widths) {
      for (const uint8_t bits : of_matrix) EXPECT_EQ(bits, of_matrix[0]) << "not one width per matrix";
    }
  }
}

TEST_F(GuardedSearch, IsOnlyForTheSearchByBlocks) {
  for (const Method method : {Method::kUniform, Method::kMatrix, Method::kThreshold, Method::kRandom}) {
    const SearchResult result = run({.method = method, .max_iterations = 2});
    EXPECT_FALSE(result.guard);
    EXPECT_EQ(result.certificate.has_value(), method == Method::kMatrix);
  }
}

}  // namespace
}  // namespace scalebits::test
