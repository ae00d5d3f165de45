// SPDX-License-Identifier: Apache-2.0
/// What a search moves as one: a block, or (method matrix) all blocks of a matrix together.
#pragma once

#include <vector>

#include "scalebits/search/budget.h"
#include "scalebits/search/search.h"

namespace scalebits {

enum class Unit { kBlock, kMatrix };

class Units {
 public:
  Units(const QuantizedLayers& layers, Unit unit);

  /// Of those that may move.
  [[nodiscard]] int64_t count() const { return count_; }
  /// Moves of every unit at these widths, in model order; none for a unit of fixed width.
  [[nodiscard]] std::vector<UnitMoves> moves(const PassResult& scores, const Widths& widths, Score score) const;
  [[nodiscard]] Widths moved(Widths widths, const Moves& moves) const;

 private:
  const QuantizedLayers& layers_;
  Unit unit_;
  std::vector<BlockRef> blocks_;
  int64_t count_ = 0;
};

}  // namespace scalebits
