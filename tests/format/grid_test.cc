// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/grid.h"

#include <gtest/gtest.h>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

TEST(Grid, CountsAndEdgesByHand) {
  // 300 x 200 in blocks of 128 x 128 with groups of 64: 3 x 2 blocks, the last 44 (stored 48) x 72 (stored 72, 2
  // groups).
  const BlockGrid grid(300, 200, {.rows = 128, .cols = 128, .group_size = 64});
  EXPECT_EQ(grid.row_blocks(), 3);
  EXPECT_EQ(grid.col_blocks(), 2);
  EXPECT_EQ(grid.n_blocks(), 6);
  EXPECT_EQ(grid.n_weights(), 60000);
  EXPECT_EQ(grid.rows(2).first, 256);
  EXPECT_EQ(grid.rows(2).count, 44);
  EXPECT_EQ(grid.rows(2).padded, 48);
  EXPECT_EQ(grid.cols(1).first, 128);
  EXPECT_EQ(grid.cols(1).count, 72);
  EXPECT_EQ(grid.cols(1).padded, 72);
  EXPECT_EQ(grid.groups(0), 2);
  EXPECT_EQ(grid.groups(1), 2);
}

TEST(Grid, BytesOfAFullBlockByHand) {
  const BlockGrid grid(128, 128, {});
  // 16384 codes; one scale and one zero for each of 128 rows.
  EXPECT_EQ(grid.code_bytes(0, 3), 16384 * 3 / 8);
  EXPECT_EQ(grid.scale_bytes(0), 128);
  EXPECT_EQ(grid.zero_bytes(0, 3), 128 * 4 / 8);  // half steps: one bit more than the code
  EXPECT_EQ(grid.zero_bytes(0, 7), 128);
  EXPECT_EQ(grid.zero_bytes(0, 8), 128);  // whole steps
  EXPECT_EQ(grid.block_bytes(0, 3), 6144 + 128 + 64 + 1);
}

TEST(Grid, BytesOfARaggedBlockByHand) {
  // The docs' example: 2 x 6, one block of one strip: 2 tiles of 24 bytes, 2 groups of 16 scales and 16 zeros.
  const BlockGrid grid(2, 6, {.rows = 16, .cols = 8, .group_size = 4});
  EXPECT_EQ(grid.code_bytes(0, 3), 48);
  EXPECT_EQ(grid.scale_bytes(0), 32);
  EXPECT_EQ(grid.zero_bytes(0, 3), 16);
  EXPECT_EQ(grid.block_bytes(0, 3), 97);
}

TEST(Grid, ZeroFieldReachesEveryCode) {
  for (int bits = 1; bits <= 8; ++bits) {
    const float largest = static_cast<float>((1 << zero_bits(bits)) - 1) * zero_unit(bits);
    EXPECT_GE(largest, static_cast<float>((1 << bits) - 1)) << bits;
    EXPECT_LE(zero_bits(bits), 8);
  }
}

TEST(Grid, RefusesBadSpecsAndSides) {
  const BlockSpec good = {.rows = 16, .cols = 8, .group_size = 4};
  EXPECT_NO_THROW(BlockGrid(1, 1, good));
  const int64_t limit = int64_t{1} << 31;
  for (const int64_t side : {int64_t{0}, int64_t{-1}, limit + 1}) {
    EXPECT_THROW(BlockGrid(side, 8, good), InvalidArgument) << side;
    EXPECT_THROW(BlockGrid(8, side, good), InvalidArgument) << side;
  }
  for (const BlockSpec bad :
       {BlockSpec{0, 8, 4}, BlockSpec{-16, 8, 4}, BlockSpec{24, 8, 4}, BlockSpec{16, 6, 4}, BlockSpec{16, 0, 4},
        BlockSpec{16, -8, 4}, BlockSpec{16, 8, 0}, BlockSpec{16, 8, 2}, BlockSpec{16, 8, -4}, BlockSpec{16, 4, 8},
        BlockSpec{16, kMaxGroupSize + 4, kMaxGroupSize + 4}}) {
    EXPECT_THROW(BlockGrid(8, 8, bad), InvalidArgument) << bad.rows << " " << bad.cols << " " << bad.group_size;
  }
}

TEST(Grid, LargestMatrixDoesNotOverflow) {
  const int64_t side = int64_t{1} << 31;
  const BlockGrid grid(side, side, {.rows = 1 << 30, .cols = 1 << 30, .group_size = 4});
  EXPECT_EQ(grid.n_blocks(), 4);
  EXPECT_EQ(grid.code_bytes(3, 8), int64_t{1} << 60);
  EXPECT_EQ(grid.scale_bytes(3), int64_t{1} << 58);
}

}  // namespace
}  // namespace scalebits
