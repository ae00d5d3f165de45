// SPDX-License-Identifier: Apache-2.0
// A walk up the budgets: every point is a plan of its own budget, no worse than the one below, and the same again.
#include "scalebits/search/frontier.h"

#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/search/state_file.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

/// 0.1 % of the weights in a block, so that the budget can be used to 99.5 %.
constexpr BlockSpec kFineBlocks{.rows = 16, .cols = 8, .group_size = 8};

class TinyFrontier : public ::testing::Test {
 protected:
  [[nodiscard]] std::vector<int64_t> budgets(const std::vector<double>& bpw) const {
    std::vector<int64_t> bytes;
    for (const double b : bpw) bytes.push_back(budget_from_bpw(layers_, b));
    return bytes;
  }
  [[nodiscard]] SearchOptions options(const std::vector<double>& bpw) const {
    return {.max_iterations = 6, .slice = 3, .frontier = budgets(bpw)};
  }
  [[nodiscard]] SearchResult run(const SearchOptions& options, const SearchState* resume = nullptr,
                                 const std::function<void(const SearchState&)>& save = {}) const {
    return search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib_, options.frontier.front(), options,
                       silent_log(), resume, save);
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny_gqa());
  const ModelConfig config_ = read_hf_config(tiny_gqa());
  const QuantizedLayers layers_ = find_quantized_layers(config_, kFineBlocks, {}, {{"1.mlp.down_proj", 5}});
  const CalibSet calib_ = split_calibration(random_sequences(8, 20, 1), "test");
};

void expect_same(const SearchResult& a, const SearchResult& b) {
  EXPECT_EQ(a.order, b.order);
  ASSERT_EQ(a.frontier.size(), b.frontier.size());
  for (size_t k = 0; k < a.frontier.size(); ++k) {
    const FrontierPoint &p = a.frontier[k], &q = b.frontier[k];
    EXPECT_EQ(p.widths, q.widths) << k;
    EXPECT_EQ(p.rank, q.rank) << k;
    EXPECT_EQ(p.heldout_loss, q.heldout_loss);
    EXPECT_EQ(p.certificate.predicted, q.certificate.predicted);
    EXPECT_EQ(p.certificate.bound, q.certificate.bound);
    ASSERT_EQ(p.trace.size(), q.trace.size());
    for (size_t i = 0; i < p.trace.size(); ++i) {
      EXPECT_EQ(p.trace[i].iteration, q.trace[i].iteration);
      EXPECT_EQ(p.trace[i].heldout_after, q.trace[i].heldout_after);
    }
  }
}

TEST_F(TinyFrontier, EveryPointKeepsItsBudgetAndUsesIt) {
  for (const std::vector<double>& bpw : {std::vector<double>{5.6, 6.0, 6.4, 6.8}, {5.5, 5.51}, {6.0}}) {
    const SearchResult result = run(options(bpw));
    ASSERT_EQ(result.frontier.size(), bpw.size());
    for (size_t k = 0; k < bpw.size(); ++k) {
      const FrontierPoint& point = result.frontier[k];
      EXPECT_EQ(point.budget_bytes, budgets(bpw)[k]);
      EXPECT_EQ(point.bytes, widths_bytes(layers_, point.widths));
      EXPECT_LE(point.bytes, point.budget_bytes);
      EXPECT_GE(1000 * point.bytes, 995 * point.budget_bytes);
      EXPECT_EQ(point.rank.empty(), k == 0);
      for (size_t i = 0; i < layers_.items.size(); ++i) {
        for (const uint8_t bits : point.widths[i]) {
          EXPECT_TRUE(layers_.items[i].fixed_bits == 0 || bits == layers_.items[i].fixed_bits);
        }
      }
    }
  }
}

TEST_F(TinyFrontier, BeginsWithTheSearchForTheFirstBudget) {
  const std::vector<double> bpw = {5.6, 6.2};
  SearchOptions alone = options(bpw);
  alone.frontier.clear();
  alone.guard = false;
  const SearchResult single =
      search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib_, budgets(bpw)[0], alone, silent_log());
  const SearchResult result = run(options(bpw));
  EXPECT_EQ(result.frontier[0].widths, single.widths);
  EXPECT_EQ(result.frontier[0].heldout_loss, single.heldout_loss);
  EXPECT_EQ(result.widths, single.widths);
  EXPECT_EQ(result.order, single.order);
}

TEST_F(TinyFrontier, LossFallsFromPointToPointAndIsThatOfTheWidths) {
  const SearchResult result = run(options({5.6, 6.0, 6.4, 6.8}));
  const DenseWeights plain(checkpoint_, config_);
  QuantizedWeights weights(std::make_shared<DenseWeights>(checkpoint_, config_, result.order), layers_,
                           group_quantizer("rtn"));
  const std::vector<at::Tensor> reference = reference_hidden(plain, calib_.heldout);
  double before = 1e9;
  for (const FrontierPoint& point : result.frontier) {
    for (size_t i = 0; i < point.widths.size(); ++i) weights.set_bits(i, point.widths[i]);
    EXPECT_EQ(point.heldout_loss, mean_loss(LossKind::kKl, weights, calib_.heldout, reference));
    EXPECT_EQ(point.heldout_kl, point.heldout_loss);
    EXPECT_LT(point.heldout_loss, before);
    EXPECT_LE(point.certificate.predicted, point.certificate.bound);
    EXPECT_GT(point.certificate.bound, 0.0);
    before = point.heldout_loss;
  }
}

/// 1.6 times the six that one search may take, at least one for each.
TEST_F(TinyFrontier, SharesOutItsIterations) {
  const SearchResult result = run(options({5.6, 6.0, 6.4, 6.8}));
  int64_t iteration = 0;
  for (const FrontierPoint& point : result.frontier) {
    for (const TraceEntry& entry : point.trace) EXPECT_EQ(entry.iteration, iteration++);
    EXPECT_GE(point.trace.size(), 1U);
  }
  EXPECT_LE(result.frontier[0].trace.size(), 6U);
  EXPECT_LE(iteration, 9);
}

TEST_F(TinyFrontier, GoesOnFromAnySavedStateToTheSameResult) {
  const TempDir dir;
  std::vector<SearchState> states;
  const SearchResult whole = run(options({5.6, 6.0, 6.4}), nullptr, [&](const SearchState& s) { states.push_back(s); });
  int between = 0, within = 0;
  for (const SearchState& state : states) {
    between += !state.frontier.empty() && state.trace.empty() ? 1 : 0;
    within += !state.frontier.empty() && !state.trace.empty() ? 1 : 0;
    save_search_state(dir / "search.json", state, layers_, "print");
    std::string why;
    const auto loaded = load_search_state(dir / "search.json", layers_, "print", why);
    ASSERT_TRUE(loaded) << why;
    expect_same(run(options({5.6, 6.0, 6.4}), &*loaded), whole);
  }
  EXPECT_EQ(between, 3);
  EXPECT_GE(within, 3);
}

TEST_F(TinyFrontier, IsTheSameForAnyNumberOfThreads) {
  std::vector<SearchResult> results;
  for (const int n : {1, 2}) {
    set_num_threads(n);
    results.push_back(run(options({5.6, 6.2})));
  }
  set_num_threads(0);
  expect_same(results[0], results[1]);
}

TEST_F(TinyFrontier, CanFollowTheCrossEntropy) {
  SearchOptions ce = options({5.6, 6.2});
  ce.loss = LossKind::kCe;
  for (const FrontierPoint& point : run(ce).frontier) {
    EXPECT_GT(point.heldout_loss, 1.0);  // nats of next-token loss, not a divergence
    EXPECT_LT(point.heldout_kl, 1.0);
  }
}

TEST_F(TinyFrontier, RefusesALastBudgetThatCannotBeReached) {
  SearchOptions bad = options({5.6, 6.0});
  bad.frontier.push_back(reachable_bytes(layers_).most + 1);
  EXPECT_THAT(error_text<InvalidArgument>([&] { (void)run(bad); }), testing::HasSubstr("last target"));
}

/// Sixteen blocks up in reversed order of gain, eight down, one that stays: two ups and one down in each eighth.
TEST(RankMoves, SharesThemOutByEighthsBestFirst) {
  Widths lower(1, std::vector<uint8_t>(25, 3)), upper = lower;
  std::vector<UnitMoves> units;
  std::vector<uint8_t> expected;
  for (size_t b = 0; b < 25; ++b) {
    units.push_back({static_cast<double>(b), static_cast<double>(b), 10, 10});
    upper[0][b] = b < 16 ? 4 : b < 24 ? 2 : 3;
    expected.push_back(static_cast<uint8_t>(b < 16 ? 1 + b / 2 : b < 24 ? 8 - (b - 16) : 1));
  }
  EXPECT_EQ(rank_moves(lower, upper, units)[0], expected);
}

TEST(RankMoves, GoesByBytesAndBreaksTiesByTheLowerIndex) {
  // Gains per byte 0.1, 0.3, 0.2, 0.2 of blocks that move up: eighths 8, 6, 4, 2 in their order.
  const std::vector<UnitMoves> units = {{2, 0, 20, 20}, {3, 0, 10, 10}, {2, 0, 10, 10}, {4, 0, 20, 20}};
  EXPECT_EQ(rank_moves({{3, 3}, {3, 3}}, {{4, 5}, {4, 4}}, units), (Widths{{2, 8}, {6, 4}}));
}

}  // namespace
}  // namespace scalebits::test
