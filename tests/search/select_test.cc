// SPDX-License-Identifier: Apache-2.0
// One step of the batched greedy: what it may never do, and what it must find.
#include "scalebits/search/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "scalebits/base/rng.h"

namespace scalebits::test {
namespace {

using Indices = std::vector<int64_t>;

/// Units of equal cost.
std::vector<UnitMoves> units_of(const std::vector<double>& gains, const std::vector<double>& harms,
                                int64_t bytes = 10) {
  std::vector<UnitMoves> units;
  for (size_t i = 0; i < gains.size(); ++i) units.push_back({gains[i], harms[i], bytes, bytes});
  return units;
}

TEST(SelectMoves, SpendsFreeBytesOnTheLargestGains) {
  const Moves moves = select_moves(units_of({1, 5, 3, 4}, {9, 9, 9, 9}), 25, 100);
  EXPECT_EQ(moves.up, (Indices{1, 3}));
  EXPECT_TRUE(moves.down.empty());
  EXPECT_EQ(moves.bytes, 20);
  EXPECT_EQ(moves.predicted_gain, 9.0);
}

TEST(SelectMoves, PaysWithTheLeastHarmAndStopsWhenHarmReachesGain) {
  // Ups by gain: 0 (10), 1 (5), 2 (4). Downs by harm: 5 (1), 4 (3), 3 (4.5): the third pair would lose 0.5.
  const Moves moves = select_moves(units_of({10, 5, 4, 0, 0, 0}, {99, 99, 99, 4.5, 3, 1}), 0, 100);
  EXPECT_EQ(moves.up, (Indices{0, 1}));
  EXPECT_EQ(moves.down, (Indices{5, 4}));
  EXPECT_EQ(moves.bytes, 0);
  EXPECT_EQ(moves.predicted_gain, 15.0 - 4.0);
}

TEST(SelectMoves, TakesNoPairWhoseHarmEqualsItsGain) {
  EXPECT_TRUE(select_moves(units_of({2, 0}, {99, 2}), 0, 100).up.empty());
  EXPECT_EQ(select_moves(units_of({2, 0}, {99, 1.999}), 0, 100).up, (Indices{0}));
}

TEST(SelectMoves, BreaksTiesByTheLowerIndex) {
  const Moves moves = select_moves(units_of({3, 3, 3, 0, 0, 0}, {9, 9, 9, 1, 1, 1}), 10, 2);
  EXPECT_EQ(moves.up, (Indices{0, 1}));
  EXPECT_EQ(moves.down, (Indices{3}));
}

TEST(SelectMoves, ComparesGainsPerByte) {
  // 6 nats for 30 bytes against 3 for 10.
  const std::vector<UnitMoves> units = {{6, 99, 30, 30}, {3, 99, 10, 10}};
  EXPECT_EQ(select_moves(units, 10, 100).up, (Indices{1}));
  EXPECT_EQ(select_moves(units, 40, 100).up, (Indices{1, 0}));
}

TEST(SelectMoves, TakesASmallerUnitWhereALargerOneDoesNotFit) {
  const std::vector<UnitMoves> units = {{90, 1, 30, 0}, {3, 1, 10, 0}};
  EXPECT_EQ(select_moves(units, 20, 100).up, (Indices{1}));
}

TEST(SelectMoves, MovesNothingWithoutGainOrRoom) {
  EXPECT_TRUE(select_moves({}, 100, 100).up.empty());
  EXPECT_TRUE(select_moves(units_of({0, -1, NAN}, {1, 1, 1}), 100, 100).up.empty());
  EXPECT_TRUE(select_moves(units_of({5}, {1}), 100, 0).up.empty());
  // A unit cannot pay for itself.
  EXPECT_TRUE(select_moves(units_of({5}, {1}), 0, 100).up.empty());
  // No width above 8 or below 1.
  EXPECT_TRUE(select_moves(std::vector<UnitMoves>{{5, 1, 0, 10}, {5, 1, 10, 0}}, 0, 100).down.size() <= 1);
}

std::vector<UnitMoves> random_units(size_t n, Rng& rng) {
  std::vector<UnitMoves> units(n);
  for (UnitMoves& u : units) {
    u.gain_up = rng.uniform() * 3 - 1;
    u.harm_down = rng.uniform() * 3 - 0.5;
    u.bytes_up = rng.below(5) == 0 ? 0 : static_cast<int64_t>(1 + rng.below(40));
    u.bytes_down = rng.below(5) == 0 ? 0 : static_cast<int64_t>(1 + rng.below(40));
  }
  return units;
}

TEST(SelectMoves, NeverExceedsTheFreeBytesAndAccountsForEveryMove) {
  Rng rng(1);
  int64_t ups = 0, downs = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    const std::vector<UnitMoves> units = random_units(1 + rng.below(60), rng);
    const auto free = static_cast<int64_t>(rng.below(200)), most = static_cast<int64_t>(rng.below(20));
    const Moves moves = select_moves(units, free, most);
    std::vector<int> moved(units.size(), 0);
    int64_t bytes = 0;
    double gain = 0;
    for (const int64_t u : moves.up) {
      const UnitMoves& unit = units[static_cast<size_t>(u)];
      EXPECT_GT(unit.gain_up, 0.0);
      EXPECT_GT(unit.bytes_up, 0);
      bytes += unit.bytes_up;
      gain += unit.gain_up;
      ++moved[static_cast<size_t>(u)];
    }
    for (const int64_t d : moves.down) {
      const UnitMoves& unit = units[static_cast<size_t>(d)];
      EXPECT_GT(unit.bytes_down, 0);
      bytes -= unit.bytes_down;
      gain -= unit.harm_down;
      ++moved[static_cast<size_t>(d)];
    }
    EXPECT_LE(bytes, free);
    EXPECT_EQ(bytes, moves.bytes);
    EXPECT_NEAR(gain, moves.predicted_gain, 1e-12);
    EXPECT_LE(static_cast<int64_t>(moves.up.size()), most);
    EXPECT_LE(*std::max_element(moved.begin(), moved.end()), 1) << "a unit moves once";
    ups += static_cast<int64_t>(moves.up.size());
    downs += static_cast<int64_t>(moves.down.size());
  }
  EXPECT_GT(ups, 2000);
  EXPECT_GT(downs, 1000);
}

/// Best total of gains less harms over all 3^n choices that fit.
double best_by_trying_all(const std::vector<UnitMoves>& units, int64_t free, int64_t max_up, size_t i = 0,
                          int64_t bytes = 0, int64_t up = 0, double gain = 0) {
  if (i == units.size()) return bytes <= free ? gain : 0.0;
  const UnitMoves& u = units[i];
  double best = best_by_trying_all(units, free, max_up, i + 1, bytes, up, gain);
  if (u.bytes_up > 0 && up < max_up) {
    best = std::max(best, best_by_trying_all(units, free, max_up, i + 1, bytes + u.bytes_up, up + 1, gain + u.gain_up));
  }
  if (u.bytes_down > 0) {
    best = std::max(best, best_by_trying_all(units, free, max_up, i + 1, bytes - u.bytes_down, up, gain - u.harm_down));
  }
  return best;
}

/// With equal costs, where no unit could move both ways and no harm is negative, the greedy is optimal.
TEST(SelectMoves, IsTheBestChoiceForUnitsOfEqualCost) {
  Rng rng(2);
  int swaps = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<UnitMoves> units;
    for (size_t i = 0; i < 8; ++i) {
      const bool up = rng.below(2) == 0;
      units.push_back({rng.uniform(), rng.uniform(), up ? 10 : 0, up ? 0 : 10});
    }
    const auto free = static_cast<int64_t>(rng.below(3) * 10), most = static_cast<int64_t>(1 + rng.below(8));
    const Moves moves = select_moves(units, free, most);
    EXPECT_NEAR(moves.predicted_gain, best_by_trying_all(units, free, most), 1e-12) << trial;
    swaps += static_cast<int>(moves.down.size());
  }
  EXPECT_GT(swaps, 100);
}

}  // namespace
}  // namespace scalebits::test
