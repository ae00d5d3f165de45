// SPDX-License-Identifier: Apache-2.0
/// The walk over the blocks of a panel, for all instruction sets; included by files of one of them only, so all of it
/// is in an unnamed namespace.
#pragma once

#include <xmmintrin.h>

#include "scalebits/kernels/kernels.h"

namespace scalebits {
namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// The three streams of a panel, as far as they are read.
struct Streams {
  const uint8_t *codes, *scales, *zeros;
};
inline Streams streams_of(const PackedPanels& w, int64_t panel) {
  return {w.codes + w.code_offset[panel], w.scales + w.scale_offset[panel], w.zeros + w.zero_offset[panel]};
}

/// Strips of 16 rows of a panel.
inline int64_t strips_of(const PackedPanels& w, int64_t panel) {
  return (smaller(w.block_rows, w.out_features - panel * w.block_rows) + 15) / 16;
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
    const BlockColumns cols{b * w.block_cols, smaller((b + 1) * w.block_cols, w.in_features), b * block_groups,
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

/// A line of scales, and one of zero points, for every four strips and group of this block, `ahead` bytes further on:
/// what one block takes of each.
inline void prefetch_params(const Streams& s, const BlockColumns& cols, int64_t n_strips, int64_t ahead) {
  const char *scales = reinterpret_cast<const char*>(s.scales), *zeros = reinterpret_cast<const char*>(s.zeros);
  for (int64_t col = cols.first; col < cols.end; col += cols.group_size) {
    for (int64_t strip = 0; strip < n_strips; strip += 4, ahead += 64) {
      _mm_prefetch(scales + ahead, _MM_HINT_T0);
      _mm_prefetch(zeros + ahead, _MM_HINT_T0);
    }
  }
}

}  // namespace
}  // namespace scalebits
