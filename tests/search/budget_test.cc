// SPDX-License-Identifier: Apache-2.0
// The byte account of a search, its reachable interval, and the first widths within it.
#include "scalebits/search/budget.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "scalebits/format/plan.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

QuantizedLayers layers_of(const std::vector<std::pair<int64_t, int64_t>>& shapes, BlockSpec spec) {
  QuantizedLayers layers;
  for (const auto& [rows, cols] : shapes) {
    layers.items.push_back({"layer" + std::to_string(layers.items.size()), 0, Proj::kQ, BlockGrid(rows, cols, spec)});
  }
  return layers;
}

/// Ragged on both sides: 13 + 4 + 9 blocks.
QuantizedLayers ragged() { return layers_of({{200, 1650}, {100, 500}, {300, 260}}, {128, 128, 64}); }
/// 640 blocks of 32 x 32: a bit more in one of them is 0.03 % of 4 bits everywhere.
QuantizedLayers fine() { return layers_of({{512, 1024}, {256, 512}}, {32, 32, 32}); }

int64_t plan_bytes(const QuantizedLayers& layers, const Widths& widths) {
  Plan plan;
  for (size_t i = 0; i < widths.size(); ++i) {
    plan.linears.push_back({layers.items[i].name, layers.items[i].grid, widths[i], {}, {}});
  }
  return plan.bytes();
}

TEST(Budget, CountsOneBlockByHand) {
  // 16 x 32, groups of 32, 3 bits: codes 16 * 32 * 3 / 8 = 192, scales 16, zeros 16 * 4 bits = 8, width 1.
  const QuantizedLayers layers = layers_of({{16, 32}}, {16, 32, 32});
  EXPECT_EQ(uniform_bytes(layers, 3), 192 + 16 + 8 + 1);
  EXPECT_EQ(n_weights(layers), 512);
}

TEST(Budget, CountsWhatThePlanCounts) {
  const QuantizedLayers layers = ragged();
  Rng rng(1);
  Widths widths;
  for (const auto& item : layers.items) {
    widths.emplace_back(static_cast<size_t>(item.grid.n_blocks()));
    for (auto& b : widths.back()) b = static_cast<uint8_t>(1 + rng.below(8));
  }
  EXPECT_EQ(widths_bytes(layers, widths), plan_bytes(layers, widths));
  for (auto& w : widths) std::fill(w.begin(), w.end(), uint8_t{5});
  EXPECT_EQ(uniform_bytes(layers, 5), plan_bytes(layers, widths));
}

TEST(Budget, CountsPermutationsAtEveryWidth) {
  QuantizedLayers layers = ragged();
  const ReachableBytes before = reachable_bytes(layers);
  reserve_orders(layers, true, true, false);
  const int64_t orders = 2 * (200 + 1650 + 100 + 500 + 300 + 260);  // I16
  EXPECT_EQ(order_bytes(layers), orders);
  EXPECT_EQ(reachable_bytes(layers).least, before.least + orders);
  EXPECT_EQ(reachable_bytes(layers).most, before.most + orders);
  EXPECT_EQ(widths_bytes(layers, uniform_widths(layers, 3)), uniform_bytes(layers, 3));
  EXPECT_THROW(check_reachable(layers, before.least, "target"), InvalidArgument);
  const int64_t budget = budget_from_bpw(layers, 3.31);
  EXPECT_LE(widths_bytes(layers, two_level_widths(layers, budget, {})), budget);
}

TEST(Budget, OutsideTheReachableIntervalIsRefusedWithBothEnds) {
  const QuantizedLayers layers = ragged();
  const ReachableBytes reach = reachable_bytes(layers);
  EXPECT_EQ(reach.least, uniform_bytes(layers, 1));
  EXPECT_EQ(reach.most, uniform_bytes(layers, 8));
  EXPECT_NO_THROW(check_reachable(layers, reach.least, "target"));
  EXPECT_NO_THROW(check_reachable(layers, reach.most, "target"));
  for (const int64_t bad : {reach.least - 1, reach.most + 1, int64_t{0}, int64_t{-5}}) {
    const std::string text = error_text<InvalidArgument>([&] { check_reachable(layers, bad, "--target-size"); });
    EXPECT_THAT(text, AllOf(HasSubstr("--target-size"), HasSubstr("got " + std::to_string(bad) + " bytes"),
                            HasSubstr(std::to_string(reach.least) + " to " + std::to_string(reach.most) + " bytes")));
  }
}

TEST(Budget, FromBitsPerWeightIsRoundedDown) {
  const QuantizedLayers layers = ragged();
  const int64_t budget = budget_from_bpw(layers, 3.31);  // 189,497.5 bytes
  const double bits = 3.31 * static_cast<double>(200 * 1650 + 100 * 500 + 300 * 260);
  EXPECT_LE(8.0 * static_cast<double>(budget), bits);
  EXPECT_GT(8.0 * static_cast<double>(budget + 1), bits);
  for (const double bad : {0.0, -1.0, 0.5, 17.0, 1e300, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW(budget_from_bpw(layers, bad), InvalidArgument) << bad;
  }
}

TEST(Budget, FloorIsTheWidestUniformWidthThatFits) {
  const QuantizedLayers layers = ragged();
  for (int bits = 1; bits <= 8; ++bits) EXPECT_EQ(floor_bits(layers, uniform_bytes(layers, bits)), bits);
  for (int bits = 2; bits <= 8; ++bits) EXPECT_EQ(floor_bits(layers, uniform_bytes(layers, bits) - 1), bits - 1);
  EXPECT_EQ(floor_bits(layers, int64_t{1} << 40), 8);
}

TEST(TwoLevelWidths, StayWithinTheBudgetAndLeaveNoRoomForOneMore) {
  for (const QuantizedLayers& layers : {ragged(), fine()}) {
    const ReachableBytes reach = reachable_bytes(layers);
    for (int step = 0; step <= 50; ++step) {
      const int64_t budget = reach.least + (reach.most - reach.least) * step / 50;
      const Widths widths = two_level_widths(layers, budget, {});
      const int low = floor_bits(layers, budget);
      const int64_t left = budget - plan_bytes(layers, widths);
      EXPECT_GE(left, 0);
      for (size_t i = 0; i < widths.size(); ++i) {
        for (size_t b = 0; b < widths[i].size(); ++b) {
          ASSERT_TRUE(widths[i][b] == low || widths[i][b] == low + 1);
          if (widths[i][b] != low || low == kMaxBits) continue;
          const auto block = static_cast<int64_t>(b);
          const BlockGrid& grid = layers.items[i].grid;
          EXPECT_GT(grid.block_bytes(block, low + 1) - grid.block_bytes(block, low), left);
        }
      }
    }
  }
}

TEST(TwoLevelWidths, UseNearlyAllOfTheBudgetOnFineGrids) {
  const QuantizedLayers layers = fine();
  for (const double bpw : {2.3, 3.0, 4.5, 6.01}) {
    const int64_t budget = budget_from_bpw(layers, bpw);
    const int64_t used = plan_bytes(layers, two_level_widths(layers, budget, {}));
    EXPECT_LE(used, budget);
    EXPECT_GE(static_cast<double>(used), 0.99 * static_cast<double>(budget)) << bpw;
  }
}

TEST(TwoLevelWidths, WidenBlocksInTheGivenOrder) {
  const QuantizedLayers layers = layers_of({{64, 64}, {64, 64}}, {32, 32, 32});
  const BlockGrid& grid = layers.items[0].grid;
  const int64_t one_more = grid.block_bytes(0, 4) - grid.block_bytes(0, 3);
  const int64_t budget = uniform_bytes(layers, 3) + 3 * one_more;
  EXPECT_EQ(two_level_widths(layers, budget, {}), (Widths{{4, 4, 4, 3}, {3, 3, 3, 3}}));
  const std::vector<BlockRef> order = {{1, 2}, {0, 3}, {1, 0}, {0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 3}};
  EXPECT_EQ(two_level_widths(layers, budget, order), (Widths{{3, 3, 3, 4}, {4, 3, 4, 3}}));
}

TEST(AllBlocks, AreInModelOrder) {
  const std::vector<BlockRef> blocks = all_blocks(layers_of({{64, 32}, {32, 96}}, {32, 32, 32}));
  ASSERT_EQ(blocks.size(), 5U);
  EXPECT_EQ(blocks[1].item, 0U);
  EXPECT_EQ(blocks[1].block, 1);
  EXPECT_EQ(blocks[4].item, 1U);
  EXPECT_EQ(blocks[4].block, 2);
}

}  // namespace
}  // namespace scalebits::test
