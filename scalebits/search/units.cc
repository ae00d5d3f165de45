// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/units.h"

namespace scalebits {

Units::Units(const QuantizedLayers& layers, Unit unit) : layers_(layers), unit_(unit), blocks_(all_blocks(layers)) {
  for (const auto& item : layers.items) {
    if (item.fixed_bits == 0) count_ += unit == Unit::kMatrix ? 1 : item.grid.n_blocks();
  }
}

std::vector<UnitMoves> Units::moves(const PassResult& scores, const Widths& widths, Score score) const {
  std::vector<UnitMoves> units;
  for (size_t i = 0; i < layers_.items.size(); ++i) {
    UnitMoves sum;
    for (size_t b = 0; b < widths[i].size(); ++b) {
      UnitMoves m;
      if (layers_.items[i].fixed_bits == 0) {
        m = block_moves(scores.linears[i].blocks[b], score, layers_.items[i].grid, static_cast<int64_t>(b),
                        widths[i][b]);
      }
      if (unit_ == Unit::kBlock) {
        units.push_back(m);
        continue;
      }
      sum.gain_up += m.gain_up;
      sum.harm_down += m.harm_down;
      sum.bytes_up += m.bytes_up;
      sum.bytes_down += m.bytes_down;
    }
    if (unit_ == Unit::kMatrix) units.push_back(sum);
  }
  return units;
}

Widths Units::moved(Widths widths, const Moves& moves) const {
  const auto change = [&](int64_t unit, int by) {
    if (unit_ == Unit::kMatrix) {
      for (uint8_t& b : widths[static_cast<size_t>(unit)]) b = static_cast<uint8_t>(b + by);
    } else {
      const BlockRef& ref = blocks_[static_cast<size_t>(unit)];
      uint8_t& b = widths[ref.item][static_cast<size_t>(ref.block)];
      b = static_cast<uint8_t>(b + by);
    }
  };
  for (const int64_t u : moves.up) change(u, 1);
  for (const int64_t d : moves.down) change(d, -1);
  return widths;
}

}  // namespace scalebits
