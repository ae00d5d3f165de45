// SPDX-License-Identifier: Apache-2.0
// The bound on what a plan could still gain: against every choice of moves, and against the dual linear program.
#include "scalebits/search/certificate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "scalebits/base/rng.h"

namespace scalebits::test {
namespace {

constexpr double kNone = -1e300;

/// Best gain of every way to let each unit go down, stay or go up: 3^n plans.
double brute_force(std::span<const UnitMoves> units, int64_t free_bytes) {
  if (units.empty()) return free_bytes >= 0 ? 0.0 : kNone;
  const UnitMoves& u = units.front();
  const auto rest = units.subspan(1);
  double best = brute_force(rest, free_bytes);
  if (u.bytes_up > 0) best = std::max(best, u.gain_up + brute_force(rest, free_bytes - u.bytes_up));
  if (u.bytes_down > 0) best = std::max(best, -u.harm_down + brute_force(rest, free_bytes + u.bytes_down));
  return best;
}

/// The linear program's optimum from its dual, which shares nothing with the greedy: for a price per byte y >= 0 every
/// unit takes the option with the largest value - y * bytes, and the least of price * free_bytes + sum over y is the
/// optimum. It is convex and piecewise linear in y, so it is least at 0 or where two options of a unit are worth the
/// same.
double dual_optimum(std::span<const UnitMoves> units, int64_t free_bytes) {
  struct Option {
    double nats, bytes;
  };
  std::vector<std::vector<Option>> options;
  std::vector<double> prices = {0.0};
  for (const UnitMoves& u : units) {
    std::vector<Option> of = {{0, 0}};
    if (u.bytes_up > 0) of.push_back({u.gain_up, static_cast<double>(u.bytes_up)});
    if (u.bytes_down > 0) of.push_back({-u.harm_down, -static_cast<double>(u.bytes_down)});
    for (const Option& a : of) {
      for (const Option& b : of) {
        if (a.bytes > b.bytes) prices.push_back((a.nats - b.nats) / (a.bytes - b.bytes));
      }
    }
    options.push_back(of);
  }
  double least = INFINITY;
  for (const double price : prices) {
    if (price < 0) continue;
    double value = price * static_cast<double>(free_bytes);
    for (const auto& of : options) {
      double best = kNone;
      for (const Option& o : of) best = std::max(best, o.nats - price * o.bytes);
      value += best;
    }
    least = std::min(least, value);
  }
  return least;
}

/// Gains and harms of either sign, some units at an end of the widths, bytes that differ from unit to unit.
std::vector<UnitMoves> random_units(Rng& rng) {
  std::vector<UnitMoves> units(1 + rng.below(8));
  for (UnitMoves& u : units) {
    u.gain_up = rng.uniform() - 0.3;
    u.harm_down = rng.uniform() - 0.2;
    u.bytes_up = rng.below(5) == 0 ? 0 : 1 + static_cast<int64_t>(rng.below(20));
    u.bytes_down = rng.below(5) == 0 ? 0 : 1 + static_cast<int64_t>(rng.below(20));
  }
  return units;
}

/// Sums of at most 24 terms below 1: each rounding is below 24 * 2^-53.
constexpr double kRounding = 24 * 24 * 0x1p-53;

TEST(Certificate, BoundsEveryPlanWithinOneBit) {
  Rng rng(1);
  int tight = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::vector<UnitMoves> units = random_units(rng);
    const auto free_bytes = static_cast<int64_t>(rng.below(40));
    const double best = brute_force(units, free_bytes);
    const Certificate c = certify(units, free_bytes);
    EXPECT_LE(best, c.bound + kRounding);
    EXPECT_LE(c.predicted, best + kRounding);
    EXPECT_LE(c.predicted, c.bound);
    tight += std::abs(best - c.bound) < kRounding ? 1 : 0;
  }
  // A bound that is only ever above would be worth little: with bytes to spare it is reached.
  EXPECT_GT(tight, 300);
}

TEST(Certificate, IsTheOptimumOfTheRelaxedProblem) {
  Rng rng(2);
  for (int i = 0; i < 3000; ++i) {
    const std::vector<UnitMoves> units = random_units(rng);
    const auto free_bytes = static_cast<int64_t>(rng.below(40));
    EXPECT_NEAR(relaxed_gain(units, free_bytes), dual_optimum(units, free_bytes), kRounding) << i;
  }
}

TEST(Certificate, IsWhatAHandWouldCompute) {
  // Up gains 6 for 4 bytes, staying put saves nothing; the other gives up 2 bytes for a harm of 1. With 1 byte free the
  // whole of the second and three quarters of the first: 0.75 * 6 - 1.
  const std::vector<UnitMoves> units = {{6, 9, 4, 4}, {0, 1, 2, 2}};
  EXPECT_DOUBLE_EQ(relaxed_gain(units, 1), 3.5);
  // No whole plan does that: 1 + 2 bytes do not pay for 4.
  EXPECT_EQ(brute_force(units, 1), 0.0);
  EXPECT_DOUBLE_EQ(certify(units, 1).apart(), 1.0);
  // With 2 free bytes a whole plan does, and the selection finds it.
  EXPECT_DOUBLE_EQ(certify(units, 2).bound, 5.0);
  EXPECT_DOUBLE_EQ(certify(units, 2).predicted, 5.0);
  EXPECT_EQ(certify(units, 2).apart(), 0.0);
}

TEST(Certificate, SkipsAWidthThatIsNeverWorthStayingAt) {
  // Each gains 5 by a byte more and loses 1 by a byte less: staying lies below the line from down to up (slope 3), so
  // one free byte takes the second unit half way along it.
  const std::vector<UnitMoves> units = {{5, 1, 1, 1}, {5, 1, 1, 1}};
  EXPECT_DOUBLE_EQ(relaxed_gain(units, 0), 4.0);  // one down, one up
  EXPECT_DOUBLE_EQ(relaxed_gain(units, 1), 7.0);  // half way between 4 and 10
  EXPECT_DOUBLE_EQ(relaxed_gain(units, 2), 10.0);
}

TEST(Certificate, FindsNothingWhereNothingMayMove) {
  EXPECT_EQ(certify({}, 100).bound, 0.0);
  const std::vector<UnitMoves> fixed = {{5, 5, 0, 0}, {1, 1, 0, 0}};
  EXPECT_EQ(certify(fixed, 100).bound, 0.0);
  EXPECT_EQ(certify(fixed, 100).apart(), 0.0);
}

}  // namespace
}  // namespace scalebits::test
