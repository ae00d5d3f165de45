// SPDX-License-Identifier: Apache-2.0
/// Weights and packed matrices to measure on. Speed does not depend on the values, so a uniform distribution will do.
#pragma once

#include <cstdint>
#include <vector>

#include "scalebits/base/rng.h"
#include "scalebits/format/packed.h"
#include "scalebits/format/scale.h"

namespace scalebits::bench {

/// n values in [-1, 1).
inline std::vector<float> random_weights(int64_t n) {
  Rng rng(1);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& v : out) v = static_cast<float>(2 * rng.uniform() - 1);
  return out;
}

/// A matrix of random codes at one width. @param bits  1..8
inline PackedMatrix random_matrix(BlockGrid grid, int bits) {
  Rng rng(2);
  PackedMatrix matrix(grid, std::vector<uint8_t>(static_cast<size_t>(grid.n_blocks()), static_cast<uint8_t>(bits)));
  for (int64_t block = 0; block < grid.n_blocks(); ++block) {
    const int64_t col_block = block % grid.col_blocks();
    const int64_t n_rows = grid.rows(block / grid.col_blocks()).count;
    std::vector<uint8_t> codes(static_cast<size_t>(n_rows * grid.cols(col_block).count));
    for (uint8_t& code : codes) code = static_cast<uint8_t>(rng.below(1U << bits));
    const GroupParams params = {.scale = nearest_scale(0.01F), .zero = 1};
    matrix.set_block(block, codes,
                     std::vector<GroupParams>(static_cast<size_t>(n_rows * grid.groups(col_block)), params));
  }
  return matrix;
}

}  // namespace scalebits::bench
