// SPDX-License-Identifier: Apache-2.0
// Plans between the points of a frontier: exact at them, within every budget, and no search.
#include "scalebits/search/cut.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Plan plan_of(const std::vector<std::pair<int64_t, int64_t>>& shapes, BlockSpec spec) {
  Plan plan;
  plan.spec = spec;
  for (const auto& [rows, cols] : shapes) {
    const BlockGrid grid(rows, cols, spec);
    plan.linears.push_back({fmt::format("layer{}", plan.linears.size()),
                            grid,
                            std::vector<uint8_t>(static_cast<size_t>(grid.n_blocks()), uint8_t{2}),
                            {},
                            {}});
  }
  return plan;
}

int64_t bytes_of(Plan plan, const Widths& widths) {
  for (size_t i = 0; i < widths.size(); ++i) plan.linears[i].bits = widths[i];
  return plan.bytes();
}

/// One more bit in the first block, from 2.
int64_t step_bytes(const Plan& plan) {
  return plan.linears[0].grid.block_bytes(0, 3) - plan.linears[0].grid.block_bytes(0, 2);
}

/// A point with this much of its budget used.
void add_point(Frontier& frontier, Widths widths, Widths rank, int64_t unused) {
  FrontierPoint point;
  point.bytes = bytes_of(frontier.plan, widths);
  point.budget_bytes = point.bytes + unused;
  point.widths = std::move(widths);
  point.rank = std::move(rank);
  frontier.points.push_back(std::move(point));
}

/// Four to six points of fine blocks; from one to the next most blocks grow by up to two bits, some shrink, some ranks
/// are drawn at random. The second of three matrices is fixed.
Frontier random_frontier(Rng& rng) {
  Frontier frontier;
  frontier.plan = plan_of({{512, 512}, {128, 96}, {200, 1000}}, {16, 32, 32});
  frontier.fixed = {false, true, false};
  Widths widths, rank;
  for (const LinearPlan& linear : frontier.plan.linears) widths.push_back(linear.bits);
  add_point(frontier, widths, {}, static_cast<int64_t>(rng.below(20)));
  for (uint64_t n = 3 + rng.below(3); n > 0; --n) {
    rank = widths;
    for (size_t i = 0; i < widths.size(); ++i) {
      for (size_t b = 0; b < widths[i].size(); ++b) {
        rank[i][b] = static_cast<uint8_t>(1 + rng.below(8));
        if (frontier.fixed[i]) continue;
        const int change[] = {-1, 0, 0, 1, 1, 1, 2, 2};
        widths[i][b] = static_cast<uint8_t>(std::clamp(widths[i][b] + change[rng.below(8)], kMinBits, kMaxBits));
      }
    }
    add_point(frontier, widths, rank, static_cast<int64_t>(rng.below(20)));
  }
  return frontier;
}

Widths widths_of(const Plan& plan) {
  Widths widths;
  for (const LinearPlan& linear : plan.linears) widths.push_back(linear.bits);
  return widths;
}

TEST(CutFrontier, IsTheStoredPlanAtAStoredBudget) {
  Rng rng(1);
  for (int trial = 0; trial < 20; ++trial) {
    const Frontier frontier = random_frontier(rng);
    for (const FrontierPoint& point : frontier.points) {
      for (const int64_t budget : {point.bytes, point.budget_bytes}) {
        EXPECT_EQ(widths_of(cut_frontier(frontier, budget, "target")), point.widths);
      }
    }
  }
}

/// Steps of a block of 16 x 32 are some 70 bytes, far below 0.5 % of what the first point has: so 99.5 % must be used.
TEST(CutFrontier, NeverExceedsTheBudgetAndUsesIt) {
  Rng rng(2);
  for (int trial = 0; trial < 20; ++trial) {
    const Frontier frontier = random_frontier(rng);
    const int64_t least = frontier.points.front().bytes, most = frontier.points.back().budget_bytes;
    ASSERT_GT(least, 200 * step_bytes(frontier.plan));
    for (int i = 0; i < 50; ++i) {
      const int64_t budget = least + static_cast<int64_t>(rng.below(static_cast<uint64_t>(most - least + 1)));
      const Plan plan = cut_frontier(frontier, budget, "target");
      EXPECT_LE(plan.bytes(), budget);
      EXPECT_GE(1000 * plan.bytes(), 995 * budget) << budget << " of " << least << " to " << most;
      EXPECT_NO_THROW(check_plan(plan));
      EXPECT_EQ(plan.linears[1].bits, frontier.plan.linears[1].bits) << "a fixed matrix moved";
    }
  }
}

/// Every block is at its width in one of the two points, except where bytes that no whole move fits in were filled.
TEST(CutFrontier, LiesBetweenItsNeighbours) {
  Rng rng(3);
  const Frontier frontier = random_frontier(rng);
  const FrontierPoint &from = frontier.points[1], &to = frontier.points[2];
  for (const double share : {0.1, 0.5, 0.9}) {
    const auto budget = from.bytes + static_cast<int64_t>(share * static_cast<double>(to.bytes - from.bytes));
    const Widths widths = widths_of(cut_frontier(frontier, budget, "target"));
    int64_t up = 0, ups = 0, down = 0, downs = 0;
    for (size_t i = 0; i < widths.size(); ++i) {
      for (size_t b = 0; b < widths[i].size(); ++b) {
        const uint8_t low = from.widths[i][b], high = to.widths[i][b];
        EXPECT_TRUE(widths[i][b] == low || widths[i][b] == high);
        ups += high > low ? 1 : 0;
        up += high > low && widths[i][b] == high ? 1 : 0;
        downs += high < low ? 1 : 0;
        down += high < low && widths[i][b] == high ? 1 : 0;
      }
    }
    // Moves of one and of two bits are spread evenly over the ranks: shares of blocks are shares of bytes to some 5 %.
    EXPECT_NEAR(static_cast<double>(up), share * static_cast<double>(ups), 0.05 * static_cast<double>(ups));
    EXPECT_NEAR(static_cast<double>(down), share * static_cast<double>(downs), 0.05 * static_cast<double>(downs));
  }
}

/// Four blocks at 2 bits: three grow by one, one shrinks; every step is of the same size.
TEST(CutFrontier, TakesTheBestRanksFirst) {
  Frontier frontier;
  frontier.plan = plan_of({{16, 128}}, {16, 32, 32});
  frontier.fixed = {false};
  add_point(frontier, {{2, 2, 2, 2}}, {}, 0);
  add_point(frontier, {{3, 3, 3, 1}}, {{3, 8, 5, 8}}, 0);
  const int64_t low = frontier.points[0].bytes;
  const int64_t step = step_bytes(frontier.plan);
  ASSERT_EQ(frontier.points[1].bytes, low + 2 * step);
  const auto cut = [&](int64_t more) { return cut_frontier(frontier, low + more, "target").linears[0].bits; };
  // Half of the way is no reason to take all of the move down.
  EXPECT_EQ(cut(step), (std::vector<uint8_t>{2, 3, 2, 2}));
  EXPECT_EQ(cut(2 * step - 1), (std::vector<uint8_t>{2, 3, 2, 2}));
  EXPECT_EQ(cut(2 * step), (std::vector<uint8_t>{3, 3, 3, 1}));
}

/// As above, but the move up is of two bits and does not fit: one bit of it does.
TEST(CutFrontier, FillsWhatNoWholeMoveFitsIn) {
  Frontier frontier;
  frontier.plan = plan_of({{16, 64}}, {16, 32, 32});
  frontier.fixed = {false};
  add_point(frontier, {{2, 2}}, {}, 0);
  add_point(frontier, {{2, 4}}, {{1, 8}}, 0);
  const int64_t low = frontier.points[0].bytes, step = step_bytes(frontier.plan);
  EXPECT_EQ(cut_frontier(frontier, low + step - 1, "target").linears[0].bits, (std::vector<uint8_t>{2, 2}));
  EXPECT_EQ(cut_frontier(frontier, low + step, "target").linears[0].bits, (std::vector<uint8_t>{2, 3}));
  EXPECT_EQ(cut_frontier(frontier, low + 2 * step - 1, "target").linears[0].bits, (std::vector<uint8_t>{2, 3}));
}

TEST(CutFrontier, RefusesWhatLiesOutsideWithBothEnds) {
  Rng rng(4);
  const Frontier frontier = random_frontier(rng);
  const int64_t least = frontier.points.front().bytes, most = frontier.points.back().budget_bytes;
  for (const int64_t bad : {least - 1, most + 1, int64_t{0}, int64_t{-1}, int64_t{1} << 60}) {
    EXPECT_THAT(error_text<InvalidArgument>([&] { (void)cut_frontier(frontier, bad, "--target-bpw 9"); }),
                AllOf(HasSubstr("--target-bpw 9"), HasSubstr(fmt::format("{} to {} bytes", least, most))));
  }
}

}  // namespace
}  // namespace scalebits::test
