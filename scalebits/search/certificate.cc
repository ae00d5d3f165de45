// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/certificate.h"

#include <algorithm>
#include <vector>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// A piece of a unit's concave function.
struct Piece {
  double nats = 0;
  int64_t bytes = 0;
  [[nodiscard]] double slope() const { return nats / static_cast<double>(bytes); }
};

/// Pieces of a unit from its cheapest width on, in falling slope.
void add_pieces(const UnitMoves& unit, std::vector<Piece>& pieces) {
  const Piece back{unit.harm_down, unit.bytes_down}, up{unit.gain_up, unit.bytes_up};
  const bool both = back.bytes > 0 && up.bytes > 0;
  if (both && back.slope() < up.slope()) {
    // Staying lies below the line from one bit less to one bit more.
    pieces.push_back({back.nats + up.nats, back.bytes + up.bytes});
    return;
  }
  if (back.bytes > 0) pieces.push_back(back);
  if (up.bytes > 0) pieces.push_back(up);
}

}  // namespace

double relaxed_gain(std::span<const UnitMoves> units, int64_t free_bytes) {
  SCALEBITS_CHECK(free_bytes >= 0);
  // Everything gives up a bit, and the bytes that are free then are spent where they gain most.
  double nats = 0;
  int64_t left = free_bytes;
  std::vector<Piece> pieces;
  for (const UnitMoves& unit : units) {
    add_pieces(unit, pieces);
    if (unit.bytes_down == 0) continue;
    nats -= unit.harm_down;
    left += unit.bytes_down;
  }
  std::stable_sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.slope() > b.slope(); });
  for (const Piece& piece : pieces) {
    if (piece.nats <= 0) break;
    if (piece.bytes > left) {
      nats += piece.slope() * static_cast<double>(left);
      break;
    }
    nats += piece.nats;
    left -= piece.bytes;
  }
  return std::max(0.0, nats);
}

Certificate certify(std::span<const UnitMoves> units, int64_t free_bytes) {
  const double predicted = select_moves(units, free_bytes, static_cast<int64_t>(units.size())).predicted_gain;
  // The two are added up in different orders: where they agree, rounding must not put the selection above its bound.
  return {predicted, std::max(predicted, relaxed_gain(units, free_bytes))};
}

}  // namespace scalebits
