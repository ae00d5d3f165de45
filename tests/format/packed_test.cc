// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/packed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"

namespace scalebits {
namespace {

using Bytes = std::vector<uint8_t>;

struct Block {
  Bytes codes;
  std::vector<GroupParams> params;
  bool operator==(const Block&) const = default;
};

Block empty_block(const BlockGrid& grid, int64_t block) {
  const auto rows = static_cast<size_t>(grid.rows(block / grid.col_blocks()).count);
  const int64_t col_block = block % grid.col_blocks();
  return {Bytes(rows * static_cast<size_t>(grid.cols(col_block).count)),
          std::vector<GroupParams>(rows * static_cast<size_t>(grid.groups(col_block)))};
}

Block random_block(const BlockGrid& grid, int64_t block, int bits, Rng& rng) {
  Block out = empty_block(grid, block);
  for (auto& code : out.codes) code = static_cast<uint8_t>(rng.below(1U << bits));
  for (auto& p : out.params) {
    p = {.scale = static_cast<uint8_t>(rng.below(256)), .zero = static_cast<uint8_t>(rng.below(1U << zero_bits(bits)))};
  }
  return out;
}

void expect_round_trip(int64_t rows, int64_t cols, BlockSpec spec, uint64_t seed) {
  const BlockGrid grid(rows, cols, spec);
  Rng rng(seed);
  Bytes bits(static_cast<size_t>(grid.n_blocks()));
  for (auto& width : bits) width = static_cast<uint8_t>(1 + rng.below(8));
  PackedMatrix matrix(grid, bits);
  std::vector<Block> blocks;
  int64_t bytes = 0;
  for (int64_t b = 0; b < grid.n_blocks(); ++b) {
    blocks.push_back(random_block(grid, b, bits[static_cast<size_t>(b)], rng));
    bytes += grid.block_bytes(b, bits[static_cast<size_t>(b)]);
  }
  for (int64_t b = grid.n_blocks() - 1; b >= 0; --b) {  // any order will do
    matrix.set_block(b, blocks[static_cast<size_t>(b)].codes, blocks[static_cast<size_t>(b)].params);
  }
  EXPECT_EQ(matrix.total_bytes(), bytes);
  const PanelOffsets panels = check_packed(matrix.view(), "test");
  for (int64_t b = 0; b < grid.n_blocks(); ++b) {
    Block got = empty_block(grid, b);
    get_block(matrix.view(), panels, b, got.codes, got.params);
    ASSERT_EQ(got, blocks[static_cast<size_t>(b)]) << rows << " x " << cols << " block " << b;
  }
}

TEST(Packed, BlocksOfRaggedMatricesRoundTrip) {
  for (int64_t rows = 1; rows <= 33; ++rows) {
    for (const int64_t cols : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 17, 31, 64, 65}) {
      expect_round_trip(rows, cols, {.rows = 16, .cols = 8, .group_size = 4}, static_cast<uint64_t>(rows * 100 + cols));
      expect_round_trip(rows, cols, {.rows = 32, .cols = 24, .group_size = 12},
                        static_cast<uint64_t>(rows * 100 + cols));
    }
  }
  expect_round_trip(300, 200, {}, 7);
}

/// The worked example of docs/format.md.
TEST(Packed, WorkedExampleByHand) {
  PackedMatrix matrix(BlockGrid(2, 6, {.rows = 16, .cols = 8, .group_size = 4}), {3});
  const Bytes codes = {1, 2, 3, 4, 5, 6,  //
                       5, 6, 7, 0, 2, 1};
  const std::vector<GroupParams> params = {{0xa8, 7},
                                           {0xa0, 5},  // 0.5, 3.5; 0.25, 2.5
                                           {0xb0, 6},
                                           {0xb8, 3}};  // 1, 3; 2, 1.5
  matrix.set_block(0, codes, params);
  const PackedView view = matrix.view();
  // Tile 0: 1 2 3 4 / 5 6 7 0. Tile 1: 5 6 and two codes of padding / 2 1 and two, padding = 2.5 -> 2 and 1.5 -> 2.
  Bytes expected(48);
  expected[0] = 0xd1;
  expected[1] = 0x58;
  expected[2] = 0x1f;
  expected[24] = 0xb5;
  expected[25] = 0xa4;
  expected[26] = 0x48;
  EXPECT_EQ(Bytes(view.codes.begin(), view.codes.end()), expected);
  Bytes scales(32);
  scales[0] = 0xa8;
  scales[1] = 0xb0;
  scales[16] = 0xa0;
  scales[17] = 0xb8;
  EXPECT_EQ(Bytes(view.scales.begin(), view.scales.end()), scales);
  Bytes zeros(16);
  zeros[0] = 0x67;
  zeros[8] = 0x35;
  EXPECT_EQ(Bytes(view.zeros.begin(), view.zeros.end()), zeros);
  EXPECT_EQ(matrix.total_bytes(), 97);
}

/// Strips are contiguous inside a block, blocks inside a panel: the byte where each code of a 20 x 12 matrix lies.
TEST(Packed, TilesLieInStripMajorOrderInsideBlocks) {
  const BlockGrid grid(20, 12, {.rows = 32, .cols = 8, .group_size = 8});
  PackedMatrix matrix(grid, {8, 8});
  for (int64_t b = 0; b < 2; ++b) {
    Block block = empty_block(grid, b);
    const auto cols = static_cast<size_t>(grid.cols(b).count);
    for (size_t i = 0; i < block.codes.size(); ++i) {
      block.codes[i] = static_cast<uint8_t>(i / cols * 12 + i % cols + static_cast<size_t>(b) * 8);
    }
    matrix.set_block(b, block.codes, block.params);
  }
  const auto codes = matrix.view().codes;
  for (size_t row = 0; row < 20; ++row) {
    for (size_t col = 0; col < 12; ++col) {
      const size_t block = col < 8 ? 0 : 2 * 2 * 64;  // block 0 has two strips of two tiles
      const size_t tiles = col < 8 ? 2 : 1;
      const size_t tile = row / 16 * tiles + col % 8 / 4;
      ASSERT_EQ(codes[block + tile * 64 + row % 16 * 4 + col % 4], static_cast<uint8_t>(row * 12 + col));
    }
  }
}

TEST(Packed, PaddingRowsDecodeToZeroAndPaddingColumnsStayNearZero) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (int zero = 0; zero < (1 << zero_bits(bits)); ++zero) {
      PackedMatrix matrix(BlockGrid(1, 1, {.rows = 16, .cols = 4, .group_size = 4}), {static_cast<uint8_t>(bits)});
      matrix.set_block(0, Bytes{0}, std::vector<GroupParams>{{0xb0, static_cast<uint8_t>(zero)}});
      // Read the padding by calling the matrix 16 x 4.
      PackedView whole = matrix.view();
      whole.grid = BlockGrid(16, 4, whole.grid.spec());
      Block got = empty_block(whole.grid, 0);
      get_block(whole, check_packed(whole, "test"), 0, got.codes, got.params);
      const double point = zero * static_cast<double>(zero_unit(bits));
      for (size_t col = 1; col < 4; ++col) {
        for (int other = 0; other < (1 << bits); ++other) {
          ASSERT_LE(std::abs(got.codes[col] - point), std::abs(other - point)) << bits << " " << zero;
        }
      }
      for (size_t row = 1; row < 16; ++row) {
        ASSERT_EQ(got.params[row], GroupParams{});
        for (size_t col = 0; col < 4; ++col) ASSERT_EQ(got.codes[row * 4 + col], 0);
      }
    }
  }
}

TEST(Packed, CheckRefusesEveryWrongLengthAndWidth) {
  const PackedMatrix matrix(BlockGrid(20, 20, {.rows = 16, .cols = 8, .group_size = 4}), Bytes{1, 2, 3, 4, 5, 6});
  const PackedView good = matrix.view();
  EXPECT_NO_THROW(check_packed(good, "layer"));
  Bytes longer(good.codes.size() + 1);
  for (const auto member : {&PackedView::bits, &PackedView::codes, &PackedView::scales, &PackedView::zeros}) {
    PackedView bad = good;
    bad.*member = (good.*member).first((good.*member).size() - 1);
    EXPECT_THROW(check_packed(bad, "layer"), FormatError);
    bad.*member = {};
    EXPECT_THROW(check_packed(bad, "layer"), FormatError);
    bad.*member = std::span<const uint8_t>(longer).first((good.*member).size() + 1);
    EXPECT_THROW(check_packed(bad, "layer"), FormatError);
  }
  for (size_t block = 0; block < 6; ++block) {
    for (int width = 0; width < 256; ++width) {
      Bytes bits = {1, 2, 3, 4, 5, 6};
      if (width == bits[block]) continue;  // any other width is out of range or changes a length
      bits[block] = static_cast<uint8_t>(width);
      PackedView bad = good;
      bad.bits = bits;
      EXPECT_THROW(check_packed(bad, "layer"), FormatError) << block << " " << width;
    }
  }
}

TEST(Packed, MessagesNameWhereWhatAndBothNumbers) {
  const PackedMatrix matrix(BlockGrid(16, 8, {.rows = 16, .cols = 8, .group_size = 8}), Bytes{2});
  PackedView bad = matrix.view();
  bad.codes = bad.codes.first(31);
  try {
    check_packed(bad, "model.layers.0.mlp.up_proj");
    FAIL();
  } catch (const FormatError& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("[model.layers.0.mlp.up_proj] codes: got 31 bytes, expected 32"));
  }
}

TEST(Packed, SetBlockRefusesWhatDoesNotFit) {
  PackedMatrix matrix(BlockGrid(1, 4, {.rows = 16, .cols = 4, .group_size = 4}), Bytes{2});
  const std::vector<GroupParams> params = {{0xb0, 3}};
  EXPECT_NO_THROW(matrix.set_block(0, Bytes{0, 1, 2, 3}, params));
  EXPECT_THROW(matrix.set_block(0, Bytes{0, 1, 2, 4}, params), InternalError);
  EXPECT_THROW(matrix.set_block(0, Bytes{0, 1, 2}, params), InternalError);
  EXPECT_THROW(matrix.set_block(1, Bytes{0, 1, 2, 3}, params), InternalError);
  EXPECT_THROW(matrix.set_block(0, Bytes{0, 1, 2, 3}, std::vector<GroupParams>{{0xb0, 8}}), InternalError);
}

}  // namespace
}  // namespace scalebits
