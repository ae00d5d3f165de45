// SPDX-License-Identifier: Apache-2.0
// Whole searches on a small model: the budget, the same plan again, and going on from a saved state.
#include "scalebits/search/search.h"

#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

constexpr Method kMethods[] = {Method::kSearch, Method::kUniform, Method::kMatrix, Method::kThreshold, Method::kRandom};

class TinySearch : public ::testing::Test {
 protected:
  [[nodiscard]] SearchResult run(const SearchOptions& options, double bpw = 4.5, const SearchState* resume = nullptr,
                                 const std::function<void(const SearchState&)>& save = {}) const {
    return search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib_, budget_from_bpw(layers_, bpw),
                       options, silent_log(), resume, save);
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny_gqa());
  const ModelConfig config_ = read_hf_config(tiny_gqa());
  const QuantizedLayers layers_ = find_quantized_layers(config_, kSmallBlocks);
  const CalibSet calib_ = split_calibration(random_sequences(8, 20, 1), "test");
};

void expect_same(const SearchResult& a, const SearchResult& b) {
  EXPECT_EQ(a.order, b.order);
  EXPECT_EQ(a.widths, b.widths);
  EXPECT_EQ(a.heldout_loss, b.heldout_loss);
  EXPECT_EQ(a.bytes, b.bytes);
  ASSERT_EQ(a.trace.size(), b.trace.size());
  for (size_t i = 0; i < a.trace.size(); ++i) {
    EXPECT_EQ(a.trace[i].iteration, b.trace[i].iteration);
    EXPECT_EQ(a.trace[i].gradient_loss, b.trace[i].gradient_loss);
    EXPECT_EQ(a.trace[i].heldout_after, b.trace[i].heldout_after);
    EXPECT_EQ(a.trace[i].moves_up, b.trace[i].moves_up);
    EXPECT_EQ(a.trace[i].moves_down, b.trace[i].moves_down);
    EXPECT_EQ(a.trace[i].accepted, b.trace[i].accepted);
    EXPECT_EQ(a.trace[i].bytes, b.trace[i].bytes);
  }
}

TEST_F(TinySearch, StaysWithinTheBudgetByEveryMethod) {
  for (const Method method : kMethods) {
    for (const double bpw : {3.6, 5.25}) {
      SCOPED_TRACE(testing::Message() << "method " << static_cast<int>(method) << " at " << bpw);
      const SearchResult result = run({.method = method, .max_iterations = 6}, bpw);
      const int64_t budget = budget_from_bpw(layers_, bpw);
      EXPECT_LE(result.bytes, budget);
      EXPECT_EQ(result.bytes, widths_bytes(layers_, result.widths));
      EXPECT_NO_THROW(check_folded_order(config_, result.order));
      ASSERT_EQ(result.widths.size(), layers_.items.size());
      for (size_t i = 0; i < result.widths.size(); ++i) {
        ASSERT_EQ(static_cast<int64_t>(result.widths[i].size()), layers_.items[i].grid.n_blocks());
        for (const uint8_t b : result.widths[i]) EXPECT_TRUE(b >= kMinBits && b <= kMaxBits);
      }
      for (const TraceEntry& entry : result.trace) EXPECT_LE(entry.bytes, budget);
    }
  }
}

TEST_F(TinySearch, ReportsTheLossOfTheWidthsThatItGives) {
  const auto plain = std::make_shared<const DenseWeights>(checkpoint_, config_);
  const std::vector<at::Tensor> reference = reference_hidden(*plain, calib_.heldout);
  for (const Method method : kMethods) {
    const SearchResult result = run({.method = method, .max_iterations = 4});
    const auto ordered = std::make_shared<const DenseWeights>(checkpoint_, config_, result.order);
    QuantizedWeights weights(ordered, layers_, group_quantizer("rtn"));
    for (size_t i = 0; i < result.widths.size(); ++i) weights.set_bits(i, result.widths[i]);
    EXPECT_EQ(result.heldout_loss, mean_loss(LossKind::kKl, weights, calib_.heldout, reference));
  }
}

/// Whatever order the channels come to stand in.
TEST_F(TinySearch, SeesErrorsThatCountByTheMomentsOfTheirColumns) {
  CalibSet calib = calib_;
  calib.moments = random_moments(layers_, 1);
  const GroupQuantizer& clip = group_quantizer("clip");
  const DenseWeights plain(checkpoint_, config_);
  const std::vector<at::Tensor> reference = reference_hidden(plain, calib.heldout);
  for (const Reorder reorder : {Reorder::kNone, Reorder::kBoth}) {
    const SearchOptions options{.reorder = reorder, .max_iterations = 2, .guard = false};
    const SearchResult result =
        search_plan(checkpoint_, config_, layers_, clip, calib, budget_from_bpw(layers_, 4.5), options, silent_log());
    QuantizedWeights weights(std::make_shared<DenseWeights>(checkpoint_, config_, result.order), layers_, clip,
                             calib.moments);
    for (size_t i = 0; i < result.widths.size(); ++i) weights.set_bits(i, result.widths[i]);
    EXPECT_EQ(result.heldout_loss, mean_loss(LossKind::kKl, weights, calib.heldout, reference));
  }
}

TEST_F(TinySearch, EndsNoWorseThanItStartsAndKeepsOnlyWhatHelps) {
  for (const Method method : {Method::kSearch, Method::kMatrix}) {
    std::vector<SearchState> states;
    const SearchResult result = run({.method = method, .max_iterations = 12, .guard = false}, 4.5, nullptr,
                                    [&](const SearchState& state) { states.push_back(state); });
    ASSERT_GE(states.size(), 2U);
    ASSERT_FALSE(result.trace.empty());
    EXPECT_LT(result.heldout_loss, states[0].heldout);
    EXPECT_EQ(states.size(), result.trace.size() + 1);
    double heldout = states[0].heldout;
    for (const TraceEntry& entry : result.trace) {
      EXPECT_EQ(entry.heldout_before, heldout);
      EXPECT_EQ(entry.accepted, entry.heldout_after < entry.heldout_before);
      if (entry.accepted) heldout = entry.heldout_after;
    }
    EXPECT_EQ(result.heldout_loss, heldout);
  }
}

/// The least that gradients must be good for. A third of the loss is the margin seen; uniform widths are a harder rival
/// on random weights, where all blocks matter alike, and belong to the tests on a trained model.
TEST_F(TinySearch, BeatsRandomWidthsOfTheSameBudget) {
  const CalibSet calib = split_calibration(random_sequences(32, 20, 1), "test");
  const auto loss = [&](Method method) {
    const SearchOptions options{.method = method, .max_iterations = 15, .guard = false};
    const int64_t budget = budget_from_bpw(layers_, 4.5);
    return search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib, budget, options, silent_log())
        .heldout_loss;
  };
  EXPECT_LT(loss(Method::kSearch), loss(Method::kRandom));
}

TEST_F(TinySearch, MovesWholeMatricesByMethodMatrix) {
  const SearchResult result = run({.method = Method::kMatrix, .max_iterations = 6});
  for (const auto& widths : result.widths) {
    for (const uint8_t b : widths) EXPECT_EQ(b, widths[0]);
  }
}

TEST_F(TinySearch, GivesTheSamePlanForAnyNumberOfThreads) {
  for (const Method method : kMethods) {
    std::vector<SearchResult> results;
    for (const int n : {1, 2}) {
      set_num_threads(n);
      results.push_back(run({.method = method, .max_iterations = 4}));
    }
    set_num_threads(0);
    expect_same(results[0], results[1]);
  }
}

TEST_F(TinySearch, DrawsRandomWidthsBySeed) {
  EXPECT_EQ(run({.method = Method::kRandom, .seed = 1}).widths, run({.method = Method::kRandom, .seed = 1}).widths);
  EXPECT_NE(run({.method = Method::kRandom, .seed = 1}).widths, run({.method = Method::kRandom, .seed = 2}).widths);
}

TEST_F(TinySearch, GoesOnFromAnySavedStateToTheSameResult) {
  for (const Reorder reorder : {Reorder::kNone, Reorder::kBoth}) {
    // A slice of three of six sequences, so that iterations differ in their gradients.
    const SearchOptions options{.reorder = reorder, .max_iterations = 8, .slice = 3, .guard = false};
    std::vector<SearchState> states;
    const SearchResult whole = run(options, 4.5, nullptr, [&](const SearchState& s) { states.push_back(s); });
    ASSERT_GE(states.size(), 5U);
    bool dropped = false;
    for (const TraceEntry& entry : whole.trace) dropped |= !entry.accepted;
    EXPECT_TRUE(dropped) << "going on after a dropped batch is the hard case";
    for (const SearchState& state : states) {
      SCOPED_TRACE(testing::Message() << "resumed at iteration " << state.iteration);
      expect_same(run(options, 4.5, &state), whole);
    }
  }
}

/// Orders of their own: their bytes are within the budget, and the loss is that of the weights in these orders.
TEST_F(TinySearch, KeepsTheBudgetWithPermutationsInIt) {
  QuantizedLayers layers = layers_;
  reserve_orders(layers, true, true, true);
  ASSERT_EQ(order_bytes(layers), 2 * 2 * (512 + 320));  // by hand: 2 bytes, 2 layers, rows and columns
  const auto plain = std::make_shared<const DenseWeights>(checkpoint_, config_);
  const std::vector<at::Tensor> reference = reference_hidden(*plain, calib_.heldout);
  for (const Method method : kMethods) {
    SCOPED_TRACE(testing::Message() << "method " << static_cast<int>(method));
    const int64_t budget = budget_from_bpw(layers, 5.25);
    const SearchOptions options{.method = method, .reorder_mode = ReorderMode::kFused, .max_iterations = 4};
    const SearchResult result =
        search_plan(checkpoint_, config_, layers, group_quantizer("rtn"), calib_, budget, options, silent_log());
    EXPECT_LE(result.bytes, budget);
    EXPECT_EQ(result.bytes, widths_bytes(layers_, result.widths) + order_bytes(layers));
    EXPECT_EQ(result.order, FoldedOrder{});
    ASSERT_EQ(result.fused.size(), layers.items.size());
    for (size_t i = 0; i < result.fused.size(); ++i) {
      EXPECT_TRUE(is_permutation_of(result.fused[i].rows, layers.items[i].grid.out_features()));
      EXPECT_TRUE(is_permutation_of(result.fused[i].cols, layers.items[i].grid.in_features()));
      if (layers.items[i].shares_cols) {
        EXPECT_EQ(result.fused[i].cols, result.fused[i - 1].cols);
      }
    }
    QuantizedWeights weights(plain, with_orders(layers, result.fused), group_quantizer("rtn"));
    for (size_t i = 0; i < result.widths.size(); ++i) weights.set_bits(i, result.widths[i]);
    EXPECT_EQ(result.heldout_loss, mean_loss(LossKind::kKl, weights, calib_.heldout, reference));
  }
}

TEST_F(TinySearch, RefusesABudgetThatCannotBeReached) {
  for (const int64_t bad : {reachable_bytes(layers_).least - 1, reachable_bytes(layers_).most + 1}) {
    const std::string text = error_text<InvalidArgument>(
        [&] { search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib_, bad, {}, silent_log()); });
    EXPECT_THAT(text, ::testing::HasSubstr(std::to_string(reachable_bytes(layers_).least)));
  }
}

TEST_F(TinySearch, ReachesBothEndsOfTheInterval) {
  const ReachableBytes reach = reachable_bytes(layers_);
  for (const int64_t budget : {reach.least, reach.most}) {
    const SearchResult result =
        search_plan(checkpoint_, config_, layers_, group_quantizer("rtn"), calib_, budget, {}, silent_log());
    EXPECT_EQ(result.bytes, budget);
  }
}

TEST_F(TinySearch, CanFollowTheCrossEntropy) {
  std::vector<SearchState> states;
  const SearchResult result = run({.loss = LossKind::kCe, .max_iterations = 4}, 4.5, nullptr,
                                  [&](const SearchState& s) { states.push_back(s); });
  EXPECT_EQ(states[0].trace.size(), 0U);
  for (const TraceEntry& entry : result.trace) EXPECT_EQ(entry.accepted, entry.heldout_after < entry.heldout_before);
  ASSERT_TRUE(result.certificate);
  EXPECT_GT(result.heldout_loss, 1.0);  // nats of next-token loss, not a divergence
  EXPECT_GT(result.heldout_kl, 0.0);
  EXPECT_NE(result.heldout_kl, result.heldout_loss);
}

TEST_F(TinySearch, CertifiesTheWidthsThatItGives) {
  for (const Method method : {Method::kSearch, Method::kMatrix}) {
    const SearchOptions options{.method = method, .max_iterations = 5, .slice = 3, .guard = false};
    const SearchResult result = run(options);
    ASSERT_TRUE(result.certificate);
    // The same gradient by hand: slice 5 of three sequences each, in a part of six, is sequences 3 to 5.
    ASSERT_EQ(result.trace.size(), 5U);
    const std::vector<Sequence> slice(calib_.gradient.begin() + 3, calib_.gradient.end());
    QuantizedWeights weights(std::make_shared<DenseWeights>(checkpoint_, config_, result.order), layers_,
                             group_quantizer("rtn"));
    for (size_t i = 0; i < result.widths.size(); ++i) weights.set_bits(i, result.widths[i]);
    const DenseWeights plain(checkpoint_, config_);
    const PassResult scores =
        sensitivity_pass(weights, slice, reference_hidden(plain, slice), {.seed = 5}, options.fisher_slice);
    std::vector<UnitMoves> units;
    for (size_t i = 0; i < layers_.items.size(); ++i) {
      UnitMoves sum;
      for (size_t b = 0; b < result.widths[i].size(); ++b) {
        const UnitMoves m = block_moves(scores.linears[i].blocks[b], Score::kExact, layers_.items[i].grid,
                                        static_cast<int64_t>(b), result.widths[i][b]);
        if (method == Method::kSearch) units.push_back(m);
        sum = {sum.gain_up + m.gain_up, sum.harm_down + m.harm_down, sum.bytes_up + m.bytes_up,
               sum.bytes_down + m.bytes_down};
      }
      if (method == Method::kMatrix) units.push_back(sum);
    }
    const int64_t free_bytes = budget_from_bpw(layers_, 4.5) - result.bytes;
    EXPECT_EQ(result.certificate->bound, certify(units, free_bytes).bound);
    EXPECT_EQ(result.certificate->predicted, certify(units, free_bytes).predicted);
    EXPECT_GT(result.certificate->bound, 0.0);
    EXPECT_LE(result.certificate->predicted, result.certificate->bound);
  }
}

TEST_F(TinySearch, ReadsTheStatisticsThatItWrote) {
  const TempDir dir;
  const SearchOptions options{.max_iterations = 3, .stats = dir / "stats.safetensors", .stats_fingerprint = "abc"};
  const SearchResult first = run(options);
  ASSERT_TRUE(std::filesystem::exists(dir / "stats.safetensors"));
  expect_same(run(options), first);
}

}  // namespace
}  // namespace scalebits::test
