// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/select.h"

#include <algorithm>

namespace scalebits {
namespace {

double per_byte(double nats, int64_t bytes) { return nats / static_cast<double>(bytes); }

}  // namespace

Moves select_moves(std::span<const UnitMoves> units, int64_t free_bytes, int64_t max_up, bool may_pay) {
  std::vector<int64_t> ups, downs;
  for (size_t i = 0; i < units.size(); ++i) {
    if (units[i].bytes_up > 0 && units[i].gain_up > 0) ups.push_back(static_cast<int64_t>(i));
    if (may_pay && units[i].bytes_down > 0) downs.push_back(static_cast<int64_t>(i));
  }
  const auto gain = [&](int64_t i) {
    return per_byte(units[static_cast<size_t>(i)].gain_up, units[static_cast<size_t>(i)].bytes_up);
  };
  const auto harm = [&](int64_t i) {
    return per_byte(units[static_cast<size_t>(i)].harm_down, units[static_cast<size_t>(i)].bytes_down);
  };
  std::stable_sort(ups.begin(), ups.end(), [&](int64_t a, int64_t b) { return gain(a) > gain(b); });
  std::stable_sort(downs.begin(), downs.end(), [&](int64_t a, int64_t b) { return harm(a) < harm(b); });

  Moves moves;
  std::vector<bool> moved(units.size(), false);
  size_t next_down = 0;
  for (const int64_t u : ups) {
    if (static_cast<int64_t>(moves.up.size()) >= max_up) break;
    const UnitMoves& unit = units[static_cast<size_t>(u)];
    if (moved[static_cast<size_t>(u)]) continue;
    // Collect what pays for this move before committing to any of it.
    int64_t available = free_bytes - moves.bytes;
    double paid = 0;
    size_t cursor = next_down;
    std::vector<int64_t> payers;
    while (available < unit.bytes_up && cursor < downs.size()) {
      const int64_t d = downs[cursor++];
      if (moved[static_cast<size_t>(d)] || d == u) continue;
      payers.push_back(d);
      available += units[static_cast<size_t>(d)].bytes_down;
      paid += units[static_cast<size_t>(d)].harm_down;
    }
    if (available < unit.bytes_up) {
      if (payers.empty()) continue;  // nothing left to sell; a smaller unit may still fit
      break;
    }
    if (!payers.empty() && harm(payers.back()) >= gain(u)) break;
    for (const int64_t d : payers) {
      moved[static_cast<size_t>(d)] = true;
      moves.down.push_back(d);
      moves.bytes -= units[static_cast<size_t>(d)].bytes_down;
    }
    next_down = cursor;
    moved[static_cast<size_t>(u)] = true;
    moves.up.push_back(u);
    moves.bytes += unit.bytes_up;
    moves.predicted_gain += unit.gain_up - paid;
  }
  return moves;
}

}  // namespace scalebits
