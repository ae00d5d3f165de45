// SPDX-License-Identifier: Apache-2.0
/// Random packed matrices with their exact weights, for kernel tests.
#pragma once

#include <cmath>
#include <vector>

#include "scalebits/base/rng.h"
#include "scalebits/format/packed.h"
#include "scalebits/format/scale.h"

namespace scalebits::test {

struct RandomPacked {
  BlockGrid grid;
  PackedMatrix matrix;
  PanelOffsets panels;
  std::vector<double> weights;  ///< [out_features, in_features], by the definition, not by any kernel
};

/// `bits` 1..8 for all blocks, or 0 for a random width in each.
inline RandomPacked random_packed(int64_t rows, int64_t cols, BlockSpec spec, int bits, uint64_t seed) {
  Rng rng(seed);
  RandomPacked out{.grid = BlockGrid(rows, cols, spec), .matrix = {}, .panels = {}, .weights = {}};
  std::vector<uint8_t> widths(static_cast<size_t>(out.grid.n_blocks()));
  for (auto& width : widths) width = static_cast<uint8_t>(bits != 0 ? bits : 1 + static_cast<int>(rng.below(8)));
  out.matrix = PackedMatrix(out.grid, widths);
  out.weights.resize(static_cast<size_t>(rows * cols));
  for (int64_t block = 0; block < out.grid.n_blocks(); ++block) {
    const int width = widths[static_cast<size_t>(block)];
    const Extent r = out.grid.rows(block / out.grid.col_blocks());
    const Extent c = out.grid.cols(block % out.grid.col_blocks());
    const int64_t groups = out.grid.groups(block % out.grid.col_blocks());
    std::vector<uint8_t> codes(static_cast<size_t>(r.count * c.count));
    std::vector<GroupParams> params(static_cast<size_t>(r.count * groups));
    for (auto& code : codes) code = static_cast<uint8_t>(rng.below(1U << width));
    for (auto& p : params) {
      p.scale = nearest_scale(static_cast<float>(std::exp2(-8 * rng.uniform())));
      p.zero = static_cast<uint8_t>(rng.below(1U << zero_bits(width)));
    }
    out.matrix.set_block(block, codes, params);
    for (int64_t i = 0; i < r.count; ++i) {
      for (int64_t j = 0; j < c.count; ++j) {
        const GroupParams p = params[static_cast<size_t>(i * groups + j / spec.group_size)];
        const double zero = p.zero * (width < 8 ? 0.5 : 1.0);
        out.weights[static_cast<size_t>((r.first + i) * cols + c.first + j)] =
            static_cast<double>(scale_value(p.scale)) * (codes[static_cast<size_t>(i * c.count + j)] - zero);
      }
    }
  }
  out.panels = check_packed(out.matrix.view(), "random");
  return out;
}

inline std::vector<float> random_floats(int64_t n, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> out(static_cast<size_t>(n));
  for (auto& v : out) v = static_cast<float>(2 * rng.uniform() - 1);
  return out;
}

}  // namespace scalebits::test
