// SPDX-License-Identifier: Apache-2.0
/// One step of the batched greedy: which units get one bit more, and which give one up to pay for it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace scalebits {

/// A unit of allocation (a block, or a whole matrix) at its current width.
struct UnitMoves {
  double gain_up = 0;      ///< predicted fall of the loss with one more bit, nats
  double harm_down = 0;    ///< predicted rise of the loss with one bit less, nats
  int64_t bytes_up = 0;    ///< cost of one more bit; 0 = no such move
  int64_t bytes_down = 0;  ///< saved with one bit less; 0 = no such move
};

struct Moves {
  std::vector<int64_t> up, down;  ///< unit indices, best first
  int64_t bytes = 0;              ///< net growth
  double predicted_gain = 0;      ///< gains less harms, nats
};

/// Takes up moves in falling gain per byte, at most `max_up` of them, none without gain; pays for each from
/// `free_bytes` and then by down moves in rising harm per byte; stops when an up move gains less per byte than the next
/// down move harms. A unit moves at most once. Ties go to the lower index. Net growth never exceeds free_bytes. O(n log
/// n).
/// @param may_pay  false: free bytes only, nothing moves down
Moves select_moves(std::span<const UnitMoves> units, int64_t free_bytes, int64_t max_up, bool may_pay = true);

}  // namespace scalebits
