// SPDX-License-Identifier: Apache-2.0
/// The walk over the groups of a panel; included by files of this instruction set only, all in an unnamed namespace.
#pragma once

#include "scalebits/kernels/avx2_math.h"
#include "scalebits/kernels/avx2_tiles.h"

namespace scalebits::avx2 {
namespace {

/// The three streams of a panel, as far as they are read.
struct Streams {
  const uint8_t *codes, *scales, *zeros;
};
inline Streams streams_of(const PackedPanels& w, int64_t panel) {
  return {w.codes + w.code_offset[panel], w.scales + w.scale_offset[panel], w.zeros + w.zero_offset[panel]};
}

/// Strips of 16 rows of a panel.
inline int64_t strips_of(const PackedPanels& w, int64_t panel) {
  return (at_most(w.block_rows, w.out_features - panel * w.block_rows) + 15) / 16;
}

/// y of some strips of a panel = 0.
inline void clear(int64_t n_tokens, int64_t n_strips, float* y, int64_t y_stride) {
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t i = 0; i < n_strips * 16; i += 8) _mm256_storeu_ps(y + t * y_stride + i, _mm256_setzero_ps());
  }
}

/// Columns of one block, and where they lie among the groups of the matrix (found without a division for each).
struct BlockColumns {
  int64_t first, end, first_group, group_size;
};

/// visit.template block<Bits>(streams, columns) for each block of a panel, left to right; it advances the streams.
template <class Visit>
inline void for_each_block(const PackedPanels& w, int64_t panel, Visit& visit) {
  Streams s = streams_of(w, panel);
  const int64_t col_blocks = (w.in_features + w.block_cols - 1) / w.block_cols;
  const int64_t block_groups = w.block_cols / w.group_size;
  const uint8_t* bits = w.bits + panel * col_blocks;
  for (int64_t b = 0; b < col_blocks; ++b) {
    const BlockColumns cols{b * w.block_cols, at_most((b + 1) * w.block_cols, w.in_features), b * block_groups,
                            w.group_size};
    switch (bits[b]) {
      case 1:
        visit.template block<1>(s, cols);
        break;
      case 2:
        visit.template block<2>(s, cols);
        break;
      case 3:
        visit.template block<3>(s, cols);
        break;
      case 4:
        visit.template block<4>(s, cols);
        break;
      case 5:
        visit.template block<5>(s, cols);
        break;
      case 6:
        visit.template block<6>(s, cols);
        break;
      case 7:
        visit.template block<7>(s, cols);
        break;
      default:
        visit.template block<8>(s, cols);
        break;
    }
  }
}

/// One group of columns in 16 rows.
struct GroupStrip {
  const uint8_t* codes;
  int64_t n_tiles, col, index, strip;  ///< index: of the group among those of a row
  Rows scale, zero;
};
/// visit(GroupStrip) for each group of a block in the order of the streams.
template <int Bits, class Visit>
inline void for_each_group(Streams& s, const BlockColumns& cols, int64_t n_strips, const Visit& visit) {
  constexpr int kZeroBytes = 2 * (Bits < 8 ? Bits + 1 : 8);
  for (int64_t strip = 0; strip < n_strips; ++strip) {
    int64_t index = cols.first_group;
    for (int64_t col = cols.first; col < cols.end; col += cols.group_size, ++index) {
      const int64_t n_tiles = (at_most(cols.group_size, cols.end - col) + 3) / 4;
      visit(GroupStrip{s.codes, n_tiles, col, index, strip, scale_values(s.scales), zero_values<Bits>(s.zeros)});
      s.codes += n_tiles * 8 * Bits;
      s.scales += 16;
      s.zeros += kZeroBytes;
    }
  }
}

}  // namespace
}  // namespace scalebits::avx2
