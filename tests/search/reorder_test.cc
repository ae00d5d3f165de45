// SPDX-License-Identifier: Apache-2.0
// Channel orders from channel scores, and the scores of blocks.
#include "scalebits/search/reorder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/search/search.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Scores = std::vector<double>;

/// Random channel scores for tiny-gqa: 4 query heads over 2 KV heads, head_dim 24, d_model 64, d_ff 96.
class FoldedOrderByScore : public ::testing::Test {
 protected:
  FoldedOrderByScore() {
    Rng rng(1);
    for (const auto& item : case_.layers.items) {
      LinearSensitivity s;
      for (Scores* v : {&s.row_score, &s.row_fisher}) v->resize(static_cast<size_t>(item.grid.out_features()));
      for (Scores* v : {&s.col_score, &s.col_fisher}) v->resize(static_cast<size_t>(item.grid.in_features()));
      for (Scores* v : {&s.row_score, &s.row_fisher, &s.col_score, &s.col_fisher}) {
        for (double& x : *v) x = rng.uniform();
      }
      scores_.linears.push_back(s);
    }
  }
  [[nodiscard]] const LinearSensitivity& of(int64_t layer, Proj p) const {
    return scores_.linears[static_cast<size_t>(case_.weights.item_of(layer, p))];
  }
  [[nodiscard]] FoldedOrder order(Reorder reorder, ChannelScore kind = ChannelScore::kElement) const {
    return folded_order_by_score(case_.weights, scores_, reorder, kind);
  }
  static void expect_falling(const Permutation& perm, const std::function<double(int64_t)>& score) {
    for (size_t i = 1; i < perm.size(); ++i) EXPECT_GE(score(perm[i - 1]), score(perm[i])) << i;
  }

  QuantizedCase case_;
  PassResult scores_;
};

TEST_F(FoldedOrderByScore, IsAValidOrderInEveryMode) {
  for (const Reorder reorder : {Reorder::kRows, Reorder::kCols, Reorder::kBoth}) {
    for (const ChannelScore kind : {ChannelScore::kElement, ChannelScore::kFisher}) {
      const FoldedOrder o = order(reorder, kind);
      EXPECT_NO_THROW(check_folded_order(case_.weights.config(), o));
      EXPECT_EQ(o.residual.size(), 64U);
      EXPECT_EQ(o.layers.size(), 2U);
    }
  }
  EXPECT_EQ(order(Reorder::kNone), FoldedOrder{});
  EXPECT_NE(order(Reorder::kBoth), order(Reorder::kBoth, ChannelScore::kFisher));
}

TEST_F(FoldedOrderByScore, SortsResidualChannelsByTheSumOverAllMatricesThatShareThem) {
  const auto sum = [&](int64_t channel, bool rows, bool cols) {
    const auto c = static_cast<size_t>(channel);
    double s = 0;
    for (int64_t l = 0; l < 2; ++l) {
      if (rows) s += of(l, Proj::kO).row_score[c] + of(l, Proj::kDown).row_score[c];
      if (!cols) continue;
      for (const Proj p : {Proj::kQ, Proj::kK, Proj::kV, Proj::kGate, Proj::kUp}) s += of(l, p).col_score[c];
    }
    return s;
  };
  expect_falling(order(Reorder::kBoth).residual, [&](int64_t c) { return sum(c, true, true); });
  expect_falling(order(Reorder::kRows).residual, [&](int64_t c) { return sum(c, true, false); });
  expect_falling(order(Reorder::kCols).residual, [&](int64_t c) { return sum(c, false, true); });
}

TEST_F(FoldedOrderByScore, SortsMlpChannels) {
  expect_falling(order(Reorder::kBoth, ChannelScore::kFisher).layers[1].mlp, [&](int64_t i) {
    const auto c = static_cast<size_t>(i);
    return of(1, Proj::kGate).row_fisher[c] + of(1, Proj::kUp).row_fisher[c] + of(1, Proj::kDown).col_fisher[c];
  });
}

TEST_F(FoldedOrderByScore, SortsValueChannelsHeadsAndGroups) {
  const FoldedOrder::Layer layer = order(Reorder::kBoth).layers[0];
  const Scores &q = of(0, Proj::kQ).row_score, &k = of(0, Proj::kK).row_score, &v = of(0, Proj::kV).row_score;
  const Scores& o = of(0, Proj::kO).col_score;
  const auto at_head = [](const Scores& s, int64_t head, int64_t d) { return s[static_cast<size_t>(head * 24 + d)]; };
  const auto whole_head = [&](const Scores& s, int64_t head) {
    double sum = 0;
    for (int64_t d = 0; d < 24; ++d) sum += at_head(s, head, d);
    return sum;
  };
  for (int64_t g = 0; g < 2; ++g) {
    expect_falling(layer.value[static_cast<size_t>(g)],
                   [&](int64_t d) { return at_head(v, g, d) + at_head(o, 2 * g, d) + at_head(o, 2 * g + 1, d); });
    expect_falling(layer.query_heads[static_cast<size_t>(g)],
                   [&](int64_t j) { return whole_head(q, 2 * g + j) + whole_head(o, 2 * g + j); });
  }
  expect_falling(layer.kv_heads, [&](int64_t g) {
    double sum = whole_head(k, g) + whole_head(v, g);
    for (int64_t h = 2 * g; h < 2 * g + 2; ++h) sum += whole_head(q, h) + whole_head(o, h);
    return sum;
  });
}

/// Two groups are in the right order by chance half of the time: here one matrix alone decides, and both ways.
TEST_F(FoldedOrderByScore, SortsGroupsByEveryMatrixThatSharesThem) {
  for (const Proj p : {Proj::kQ, Proj::kK, Proj::kV, Proj::kO}) {
    LinearSensitivity& s = scores_.linears[static_cast<size_t>(case_.weights.item_of(0, p))];
    Scores& own = p == Proj::kO ? s.col_score : s.row_score;
    const Scores kept = own;
    for (const size_t group : {size_t{0}, size_t{1}}) {
      own[group * own.size() / 2] += 1000;
      EXPECT_EQ(order(Reorder::kBoth).layers[0].kv_heads[0], static_cast<int32_t>(group)) << proj_name(p);
      own = kept;
    }
  }
}

TEST_F(FoldedOrderByScore, KeepsTheOrderOfEqualScores) {
  for (LinearSensitivity& s : scores_.linears) {
    for (Scores* v : {&s.row_score, &s.col_score}) std::fill(v->begin(), v->end(), 1.0);
  }
  const FoldedOrder o = order(Reorder::kBoth);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(o.residual[i], static_cast<int32_t>(i));
  for (size_t i = 0; i < 96; ++i) EXPECT_EQ(o.layers[0].mlp[i], static_cast<int32_t>(i));
}

/// Random scores as above, for layers whose orders are reserved.
class FusedOrderByScore : public FoldedOrderByScore {
 protected:
  [[nodiscard]] FusedOrder fused(bool rows, bool cols, bool tie, ChannelScore kind = ChannelScore::kElement) {
    layers_ = case_.layers;
    reserve_orders(layers_, rows, cols, tie);
    return fused_order_by_score(layers_, scores_, kind);
  }
  static double at(const Scores& scores, int64_t channel) { return scores[static_cast<size_t>(channel)]; }

  QuantizedLayers layers_;
};

TEST_F(FusedOrderByScore, SortsEveryMatrixByItsOwnScores) {
  const FusedOrder orders = fused(true, true, false);
  const FusedOrder by_fisher = fused(true, true, false, ChannelScore::kFisher);
  ASSERT_EQ(orders.size(), 14U);
  for (size_t i = 0; i < orders.size(); ++i) {
    SCOPED_TRACE(layers_.items[i].name);
    const LinearSensitivity& s = scores_.linears[i];
    EXPECT_TRUE(is_permutation_of(orders[i].rows, layers_.items[i].grid.out_features()));
    EXPECT_TRUE(is_permutation_of(orders[i].cols, layers_.items[i].grid.in_features()));
    expect_falling(orders[i].rows, [&](int64_t r) { return at(s.row_score, r); });
    expect_falling(orders[i].cols, [&](int64_t c) { return at(s.col_score, c); });
    expect_falling(by_fisher[i].rows, [&](int64_t r) { return at(s.row_fisher, r); });
    expect_falling(by_fisher[i].cols, [&](int64_t c) { return at(s.col_fisher, c); });
  }
}

TEST_F(FusedOrderByScore, SortsOnlyWhatHasAnOrder) {
  for (const RowColOrder& order : fused(true, false, false)) EXPECT_TRUE(!order.rows.empty() && order.cols.empty());
  for (const RowColOrder& order : fused(false, true, false)) EXPECT_TRUE(order.rows.empty() && !order.cols.empty());
}

TEST_F(FusedOrderByScore, SortsTiedColumnsByTheSumOfTheirScores) {
  const FusedOrder orders = fused(true, true, true);
  for (int64_t l = 0; l < 2; ++l) {
    const auto of_layer = [&](Proj p) { return orders[static_cast<size_t>(case_.weights.item_of(l, p))]; };
    EXPECT_EQ(of_layer(Proj::kQ).cols, of_layer(Proj::kK).cols);
    EXPECT_EQ(of_layer(Proj::kQ).cols, of_layer(Proj::kV).cols);
    EXPECT_EQ(of_layer(Proj::kGate).cols, of_layer(Proj::kUp).cols);
    EXPECT_NE(of_layer(Proj::kQ).cols, of_layer(Proj::kGate).cols);
    EXPECT_NE(of_layer(Proj::kGate).rows, of_layer(Proj::kUp).rows);
    expect_falling(of_layer(Proj::kV).cols, [&](int64_t c) {
      return at(of(l, Proj::kQ).col_score, c) + at(of(l, Proj::kK).col_score, c) + at(of(l, Proj::kV).col_score, c);
    });
    expect_falling(of_layer(Proj::kUp).cols,
                   [&](int64_t c) { return at(of(l, Proj::kGate).col_score, c) + at(of(l, Proj::kUp).col_score, c); });
    expect_falling(of_layer(Proj::kDown).cols, [&](int64_t c) { return at(of(l, Proj::kDown).col_score, c); });
  }
}

TEST_F(FusedOrderByScore, KeepsTheOrderOfEqualScores) {
  for (LinearSensitivity& s : scores_.linears) {
    for (Scores* v : {&s.row_score, &s.col_score}) std::fill(v->begin(), v->end(), 1.0);
  }
  for (const RowColOrder& order : fused(true, true, true)) {
    EXPECT_EQ(order.rows, identity_permutation(static_cast<int64_t>(order.rows.size())));
    EXPECT_EQ(order.cols, identity_permutation(static_cast<int64_t>(order.cols.size())));
  }
}

TEST(ParseNames, KnowTheirNamesAndListThem) {
  EXPECT_EQ(parse_reorder("both"), Reorder::kBoth);
  EXPECT_EQ(parse_reorder_mode("fused"), ReorderMode::kFused);
  EXPECT_EQ(parse_reorder_mode("folded"), ReorderMode::kFolded);
  EXPECT_TRUE(parse_tie("fused"));
  EXPECT_FALSE(parse_tie("none"));
  EXPECT_EQ(parse_method("matrix"), Method::kMatrix);
  EXPECT_EQ(parse_score("paper"), Score::kPaper);
  EXPECT_THAT(error_text<InvalidArgument>([] { parse_reorder("x"); }),
              AllOf(HasSubstr("\"x\""), HasSubstr("none, rows, cols or both")));
  EXPECT_THAT(error_text<InvalidArgument>([] { parse_reorder_mode("x"); }),
              HasSubstr("\"x\", expected folded or fused"));
  EXPECT_THAT(error_text<InvalidArgument>([] { parse_tie("x"); }), HasSubstr("\"x\", expected none or fused"));
  EXPECT_THAT(error_text<InvalidArgument>([] { parse_method("x"); }),
              AllOf(HasSubstr("\"x\""), HasSubstr("threshold")));
  EXPECT_THAT(error_text<InvalidArgument>([] { parse_score("x"); }),
              AllOf(HasSubstr("\"x\""), HasSubstr("exact, paper or fisher")));
}

TEST(BlockMoves, FollowTheFormulasOfTheirScore) {
  const BlockSensitivity s{.up = -0.3,
                           .down = 0.2,
                           .restore = -0.7,
                           .err = 1.0,
                           .err_up = 0.4,
                           .err_down = 3.0,
                           .move_up = 0.1,
                           .move_down = 0.8};
  // 16 x 32, groups of 32: one more bit is 64 bytes of codes and 16 zero points a bit wider, 2 bytes.
  const BlockGrid grid(16, 32, {16, 32, 32});
  const UnitMoves exact = block_moves(s, Score::kExact, grid, 0, 3);
  EXPECT_DOUBLE_EQ(exact.gain_up, 0.3 - 0.5 * 0.1);
  EXPECT_DOUBLE_EQ(exact.harm_down, 0.2 + 0.5 * 0.8);
  EXPECT_EQ(exact.bytes_up, 66);
  EXPECT_EQ(exact.bytes_down, 66);
  const UnitMoves paper = block_moves(s, Score::kPaper, grid, 0, 3);
  EXPECT_DOUBLE_EQ(paper.gain_up, 0.7);
  EXPECT_DOUBLE_EQ(paper.harm_down, 0.7);
  const UnitMoves fisher = block_moves(s, Score::kFisher, grid, 0, 3);
  EXPECT_DOUBLE_EQ(fisher.gain_up, 0.5 * (1.0 - 0.4));
  EXPECT_DOUBLE_EQ(fisher.harm_down, 0.5 * (3.0 - 1.0));
}

TEST(BlockMoves, EndAtOneAndEightBits) {
  const BlockGrid grid(16, 32, {16, 32, 32});
  EXPECT_EQ(block_moves({}, Score::kExact, grid, 0, 8).bytes_up, 0);
  EXPECT_EQ(block_moves({}, Score::kExact, grid, 0, 1).bytes_down, 0);
  // From 7 to 8 bits the zero point keeps its 8 bits.
  EXPECT_EQ(block_moves({}, Score::kExact, grid, 0, 7).bytes_up, 64);
}

}  // namespace
}  // namespace scalebits::test
