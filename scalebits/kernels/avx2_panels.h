// SPDX-License-Identifier: Apache-2.0
/// The walk over the groups of a panel; included by files of this instruction set only, all in an unnamed namespace.
#pragma once

#include "scalebits/kernels/avx2_math.h"
#include "scalebits/kernels/avx2_tiles.h"
#include "scalebits/kernels/panels.h"

namespace scalebits::avx2 {
namespace {

/// y of some strips of a panel = 0.
inline void clear(int64_t n_tokens, int64_t n_strips, float* y, int64_t y_stride) {
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t i = 0; i < n_strips * 16; i += 8) _mm256_storeu_ps(y + t * y_stride + i, _mm256_setzero_ps());
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
