// SPDX-License-Identifier: Apache-2.0
/// How much a plan could still gain by the scores it was judged with, bounded from above (docs/search.md,
/// "Certificate").
#pragma once

#include <cstdint>
#include <span>

#include "scalebits/search/select.h"

namespace scalebits {

/// At one plan and one gradient there. All in nats per position, all predicted.
struct Certificate {
  double predicted = 0;  ///< gain of the moves that select_moves finds with no limit on their number
  double bound = 0;      ///< no choice of moves within the budget, one bit per unit at most, is predicted to gain more
  /// Share of the bound that the selection misses, 0..1; 0 where nothing is to be gained.
  [[nodiscard]] double apart() const { return bound > 0 ? (bound - predicted) / bound : 0.0; }
};

/// Most that units may gain with net growth of at most `free_bytes` when a unit may move by a fraction:
///
///   max sum_i v_i(x_i)  with  sum_i x_i <= free_bytes,
///   v_i = least concave function through (-bytes_down, -harm_down), (0, 0), (bytes_up, gain_up)
///
/// That is the linear relaxation of the multiple-choice knapsack, which a greedy on the slopes of v_i solves exactly
/// (Sinha and Zoltners 1979). Never negative, since every unit may stay. O(n log n).
/// @param free_bytes  not negative
double relaxed_gain(std::span<const UnitMoves> units, int64_t free_bytes);

Certificate certify(std::span<const UnitMoves> units, int64_t free_bytes);

}  // namespace scalebits
