// SPDX-License-Identifier: Apache-2.0
// The search by expected gains: bits are only spent, all of the budget, and the guard judges what will be written.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "scalebits/base/parallel.h"
#include "scalebits/search/search.h"
#include "tests/calibrate/quantized_case.h"

namespace scalebits::test {
namespace {

class ExpectedGains : public ::testing::Test {
 protected:
  [[nodiscard]] SearchResult run(SearchOptions options, double bpw, const SearchState* resume = nullptr,
                                 const std::function<void(const SearchState&)>& save = {}) const {
    options.score = Score::kFisher;
    options.compensated = true;
    options.slice = 3;
    return search_plan(checkpoint_, config_, layers_, group_quantizer("clip"), calib_, budget_from_bpw(layers_, bpw),
                       options, silent_log(), resume, save);
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny_gqa());
  const ModelConfig config_ = read_hf_config(tiny_gqa());
  const QuantizedLayers layers_ = find_quantized_layers(config_, kSmallBlocks);
  const CalibSet calib_ = split_calibration(random_sequences(8, 20, 1), "test");
};

TEST_F(ExpectedGains, NeverTakeABitAwayAndSpendTheBudget) {
  for (const double bpw : {3.6, 4.5, 5.9}) {
    const SearchResult result = run({.guard = false}, bpw);
    const int64_t budget = budget_from_bpw(layers_, bpw);
    const int least = start_bits(layers_, budget, Score::kFisher);
    for (const TraceEntry& entry : result.trace) {
      EXPECT_EQ(entry.moves_down, 0);
      EXPECT_GT(entry.moves_up, 0);
      EXPECT_TRUE(entry.accepted);
    }
    for (const auto& of_item : result.widths) {
      for (const uint8_t bits : of_item) EXPECT_GE(bits, least);
    }
    // The smallest blocks (of the right and bottom edges) have some 30 bytes a bit, less than 1 % of any budget here.
    EXPECT_LE(result.bytes, budget);
    EXPECT_GE(static_cast<double>(result.bytes), 0.99 * static_cast<double>(budget)) << bpw;
  }
}

TEST_F(ExpectedGains, BeginABitLowerButNotBelowTwo) {
  for (int floor = 1; floor <= kMaxBits; ++floor) {
    const int64_t budget = widths_bytes(layers_, uniform_widths(layers_, floor));
    ASSERT_EQ(floor_bits(layers_, budget), floor);
    EXPECT_EQ(start_bits(layers_, budget, Score::kExact), floor);
    EXPECT_EQ(start_bits(layers_, budget, Score::kFisher), floor < 3 ? floor : floor - 1);
  }
  // And some blocks stay there.
  const Widths uniform = uniform_widths(layers_, 4);
  const int64_t budget = widths_bytes(layers_, uniform);
  const SearchResult result =
      run({.guard = false}, 8.0 * static_cast<double>(budget) / static_cast<double>(n_weights(layers_)));
  int64_t below = 0;
  for (const auto& of_item : result.widths) below += std::ranges::count(of_item, uint8_t{3});
  EXPECT_GT(below, 0);
}

TEST_F(ExpectedGains, GiveTheSamePlanForAnyThreadsAndFromAnyState) {
  std::vector<SearchState> states;
  set_num_threads(1);
  const SearchResult one = run({.guard = false}, 4.5, nullptr, [&](const SearchState& s) { states.push_back(s); });
  set_num_threads(3);
  EXPECT_EQ(run({.guard = false}, 4.5).widths, one.widths);
  ASSERT_GE(states.size(), 2U);
  for (const SearchState& state : states) EXPECT_EQ(run({.guard = false}, 4.5, &state).widths, one.widths);
  set_num_threads(0);
}

/// The expected gains that feedback leaves, which the uncompensated search does not know, choose other blocks.
TEST_F(ExpectedGains, KnowWhatCompensationLeaves) {
  SearchOptions alone{.score = Score::kFisher, .slice = 3, .guard = false};
  const SearchResult plain = search_plan(checkpoint_, config_, layers_, group_quantizer("clip"), calib_,
                                         budget_from_bpw(layers_, 4.5), alone, silent_log());
  EXPECT_NE(run({.guard = false}, 4.5).widths, plain.widths);
}

TEST_F(ExpectedGains, GuardWritesWhatIsBestAsWritten) {
  // Whatever the plan, the one that is asked for second (uniform) is said to be the best once written.
  int asked = 0;
  SearchOptions options;
  options.written_loss = [&](const FoldedOrder&, const FusedOrder&, const Widths&) {
    return ++asked == 2 ? 0.0 : 1e-9;
  };
  const SearchResult result = run(options, 4.5);
  EXPECT_EQ(asked, 3);
  ASSERT_TRUE(result.guard);
  EXPECT_EQ(result.guard->plans[result.guard->written].method, std::string("uniform"));
  EXPECT_EQ(result.widths, two_level_widths(layers_, budget_from_bpw(layers_, 4.5), {}));
  EXPECT_EQ(result.guard->plans[1].written_loss, 0.0);
}

TEST_F(ExpectedGains, GuardThatWasStoppedAsksOnlyForWhatIsMissing) {
  const std::vector<double> losses = {3e-9, 1e-9, 2e-9};
  std::vector<SearchState> states;
  size_t asked = 0;
  SearchOptions options;
  options.written_loss = [&](const FoldedOrder&, const FusedOrder&, const Widths&) { return losses[asked++]; };
  const SearchResult whole = run(options, 4.5, nullptr, [&](const SearchState& s) { states.push_back(s); });
  std::set<size_t> known_before;
  for (const SearchState& state : states) {
    asked = state.guard ? state.guard->written.size() : 0;
    known_before.insert(asked);
    const SearchResult resumed = run(options, 4.5, &state);
    EXPECT_EQ(asked, 3U);
    EXPECT_EQ(resumed.guard->written, 1U);
    EXPECT_EQ(resumed.widths, whole.widths);
  }
  EXPECT_EQ(known_before, (std::set<size_t>{0, 1, 2, 3}));
}

TEST_F(ExpectedGains, GuardDoesNotWriteCompensationThatIsWorse) {
  SearchOptions options;
  options.written_loss = [](const FoldedOrder&, const FusedOrder&, const Widths&) { return 1e9; };
  const SearchResult result = run(options, 4.5);
  for (const GuardPlan& plan : result.guard->plans) EXPECT_EQ(plan.written_loss, plan.heldout_loss);
}

TEST_F(ExpectedGains, AFrontierBeginsAgainAtEachStart) {
  SearchOptions options{.guard = false};
  for (const double bpw : {3.9, 4.4, 5.2, 5.6}) options.frontier.push_back(budget_from_bpw(layers_, bpw));
  const SearchResult walk = run(options, 3.9);
  ASSERT_EQ(walk.frontier.size(), 4U);
  const Widths* before = nullptr;
  int start_before = 0;
  for (const FrontierPoint& point : walk.frontier) {
    const int start = start_bits(layers_, point.budget_bytes, Score::kFisher);
    for (size_t i = 0; i < point.widths.size(); ++i) {
      for (size_t b = 0; b < point.widths[i].size(); ++b) {
        EXPECT_GE(point.widths[i][b], start);
        if (start == start_before) {
          EXPECT_GE(point.widths[i][b], (*before)[i][b]) << "took a bit away";
        }
      }
    }
    EXPECT_LE(point.bytes, point.budget_bytes);
    EXPECT_GE(static_cast<double>(point.bytes), 0.99 * static_cast<double>(point.budget_bytes));
    before = &point.widths;
    start_before = start;
  }
}

}  // namespace
}  // namespace scalebits::test
