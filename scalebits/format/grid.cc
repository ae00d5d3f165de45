// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/grid.h"

#include <algorithm>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

// With sides up to 2^31 the largest stream (codes at 8 bits) has 2^62 bytes, so no size below can overflow.
constexpr int64_t kMaxSide = int64_t{1} << 31;

Extent extent(int64_t index, int64_t step, int64_t side, int64_t multiple) {
  SCALEBITS_DCHECK(index >= 0 && index * step < side);
  const int64_t first = index * step;
  const int64_t count = std::min(step, side - first);
  return {.first = first, .count = count, .padded = round_up(count, multiple)};
}

}  // namespace

BlockGrid::BlockGrid(int64_t out_features, int64_t in_features, BlockSpec spec)
    : out_features_(out_features), in_features_(in_features), spec_(spec) {
  if (out_features < 1 || out_features > kMaxSide || in_features < 1 || in_features > kMaxSide) {
    fail<InvalidArgument>("grid", "matrix: got {} x {}, expected sides in 1..2^31", out_features, in_features);
  }
  if (spec.rows < 1 || spec.rows % kTileRows != 0) {
    fail<InvalidArgument>("grid", "block rows: got {}, expected a positive multiple of {}", spec.rows, kTileRows);
  }
  if (spec.group_size < 1 || spec.group_size % kTileCols != 0 || spec.group_size > kMaxGroupSize) {
    fail<InvalidArgument>("grid", "group size: got {}, expected a positive multiple of {} up to {}", spec.group_size,
                          kTileCols, kMaxGroupSize);
  }
  if (spec.cols < 1 || spec.cols % spec.group_size != 0) {
    fail<InvalidArgument>("grid", "block columns: got {}, expected a positive multiple of the group size {}", spec.cols,
                          spec.group_size);
  }
}

int64_t BlockGrid::row_blocks() const { return ceil_div(out_features_, spec_.rows); }
int64_t BlockGrid::col_blocks() const { return ceil_div(in_features_, spec_.cols); }

Extent BlockGrid::rows(int64_t row_block) const { return extent(row_block, spec_.rows, out_features_, kTileRows); }
Extent BlockGrid::cols(int64_t col_block) const { return extent(col_block, spec_.cols, in_features_, kTileCols); }
int64_t BlockGrid::groups(int64_t col_block) const { return ceil_div(cols(col_block).count, spec_.group_size); }

int64_t BlockGrid::code_bytes(int64_t block, int bits) const {
  const int64_t tiles = rows(block / col_blocks()).padded / kTileRows * (cols(block % col_blocks()).padded / kTileCols);
  return tiles * kTileRows * kTileCols / 8 * bits;
}

int64_t BlockGrid::zero_bytes(int64_t block, int bits) const {
  const int64_t strips = rows(block / col_blocks()).padded / kTileRows;
  return strips * groups(block % col_blocks()) * (kTileRows / 8) * zero_bits(bits);
}

int64_t BlockGrid::scale_bytes(int64_t block) const {
  return rows(block / col_blocks()).padded * groups(block % col_blocks());
}

int64_t BlockGrid::block_bytes(int64_t block, int bits) const {
  return code_bytes(block, bits) + zero_bytes(block, bits) + scale_bytes(block) + 1;
}

}  // namespace scalebits
