// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with activations in f32, and the weights themselves.
#include "scalebits/kernels/avx2_kernels.h"
#include "scalebits/kernels/avx2_panels.h"

namespace scalebits::avx2 {
namespace {

/// code - zero of one column of a half: 8 rows. Exact.
template <int Column>
inline __m256 steps(__m256i codes, __m256 zero) {
  const __m256i column = _mm256_and_si256(_mm256_srli_epi32(codes, 8 * Column), _mm256_set1_epi32(255));
  return _mm256_sub_ps(_mm256_cvtepi32_ps(column), zero);
}

template <int T>
struct FloatProduct {
  const FloatTokens& x;
  int64_t n_strips;
  float* y;
  int64_t y_stride;

  /// sums[parity of the column][t] += steps * values of token t for 8 rows of a tile.
  static void add_half(__m256i codes, __m256 zero, const float* values, __m256 (*sums)[T]) {
    const __m256 step[4] = {steps<0>(codes, zero), steps<1>(codes, zero), steps<2>(codes, zero), steps<3>(codes, zero)};
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        sums[j % 2][t] = _mm256_fmadd_ps(step[j], _mm256_set1_ps(values[j * T + t]), sums[j % 2][t]);
      }
    }
  }

  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    for_each_group<Bits>(s, cols, n_strips, [&](const GroupStrip& group) {
      __m256 sums[2][2][T];  // of rows 0..7 and 8..15
      for (auto& half : sums) {
        for (auto& parity : half) {
          for (auto& sum : parity) sum = _mm256_setzero_ps();
        }
      }
      for (int64_t i = 0; i < group.n_tiles; ++i) {
        const Tile tile = tile_codes<Bits>(group.codes + i * 8 * Bits);
        const float* values = x.values + (group.col + 4 * i) * T;
        for (int h = 0; h < 2; ++h) add_half(tile.half[h], group.zero.half[h], values, sums[h]);
      }
      for (int t = 0; t < T; ++t) {
        for (int h = 0; h < 2; ++h) {
          float* to = y + t * y_stride + group.strip * 16 + h * 8;
          const __m256 sum = _mm256_add_ps(sums[h][0][t], sums[h][1][t]);
          _mm256_storeu_ps(to, _mm256_fmadd_ps(group.scale.half[h], sum, _mm256_loadu_ps(to)));
        }
      }
    });
  }
};

template <int T>
void gemv_of(const PackedPanels& w, int64_t panel, const FloatTokens& x, float* y, int64_t y_stride) {
  FloatProduct<T> product{x, strips_of(w, panel), y, y_stride};
  clear(T, product.n_strips, y, y_stride);
  for_each_block(w, panel, product);
}

struct Decoding {
  int64_t n_rows, n_cols;
  float* out;
  int64_t stride;

  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    for_each_group<Bits>(s, cols, (n_rows + 15) / 16, [&](const GroupStrip& group) {
      const int64_t rows = at_most(16, n_rows - group.strip * 16);
      for (int64_t i = 0; i < group.n_tiles; ++i) {
        const Tile tile = tile_codes<Bits>(group.codes + i * 8 * Bits);
        alignas(32) float columns[4][16];
        for (int h = 0; h < 2; ++h) {
          const __m256i codes = tile.half[h];
          const __m256 scale = group.scale.half[h], zero = group.zero.half[h];
          _mm256_store_ps(columns[0] + h * 8, _mm256_mul_ps(scale, steps<0>(codes, zero)));
          _mm256_store_ps(columns[1] + h * 8, _mm256_mul_ps(scale, steps<1>(codes, zero)));
          _mm256_store_ps(columns[2] + h * 8, _mm256_mul_ps(scale, steps<2>(codes, zero)));
          _mm256_store_ps(columns[3] + h * 8, _mm256_mul_ps(scale, steps<3>(codes, zero)));
        }
        const int64_t n = at_most(4, n_cols - group.col - 4 * i);
        float* to = out + group.strip * 16 * stride + group.col + 4 * i;
        for (int64_t r = 0; r < rows; ++r, to += stride) {
          for (int64_t j = 0; j < n; ++j) to[j] = columns[j][r];
        }
      }
    });
  }
};

}  // namespace

void gemv(const PackedPanels& w, int64_t panel, const FloatTokens& x, float* y, int64_t y_stride) noexcept {
  using Function = void (*)(const PackedPanels&, int64_t, const FloatTokens&, float*, int64_t);
  static constexpr Function kOf[] = {gemv_of<1>, gemv_of<2>, gemv_of<3>, gemv_of<4>,
                                     gemv_of<5>, gemv_of<6>, gemv_of<7>, gemv_of<8>};
  kOf[x.n_tokens - 1](w, panel, x, y, y_stride);
}

void decode_panel(const PackedPanels& w, int64_t panel, float* out, int64_t stride) noexcept {
  Decoding decoding{at_most(w.block_rows, w.out_features - panel * w.block_rows), w.in_features, out, stride};
  for_each_block(w, panel, decoding);
}

}  // namespace scalebits::avx2
