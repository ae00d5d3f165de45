// SPDX-License-Identifier: Apache-2.0
// Products with exact activations, and the weights themselves.
#include "scalebits/kernels/avx512_kernels.h"
#include "scalebits/kernels/avx512_tiles.h"

namespace scalebits::avx512 {
namespace {

/// code - zero of the four columns of a tile, 16 rows each. Exact.
struct Steps {
  __m512 column[4];
};
inline Steps steps(__m512i tile, __m512 zero) {
  const __m512i low = _mm512_set1_epi32(255);
  const auto from_codes = [&](__m512i codes) { return _mm512_sub_ps(_mm512_cvtepi32_ps(codes), zero); };
  return {{from_codes(_mm512_and_si512(tile, low)), from_codes(_mm512_and_si512(_mm512_srli_epi32(tile, 8), low)),
           from_codes(_mm512_and_si512(_mm512_srli_epi32(tile, 16), low)), from_codes(_mm512_srli_epi32(tile, 24))}};
}

template <int T>
struct FloatProduct {
  const FloatTokens& x;
  int64_t n_strips;
  float* y;
  int64_t y_stride;

  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    for_each_group<Bits>(s, cols, n_strips,
                         [&](const uint8_t* codes, int64_t n_tiles, int64_t col, int64_t group, __m512 scale,
                             __m512 zero, int64_t strip) {
                           __m512 sums[4][T];  // of each column of a tile
                           for (auto& column : sums) {
                             for (auto& sum : column) sum = _mm512_setzero_ps();
                           }
                           const float* values = x.values + col * T;
                           for (int64_t i = 0; i < n_tiles; ++i) {
                             const Steps step = steps(tile_codes<Bits>(codes + i * 8 * Bits), zero);
#pragma GCC unroll 4
                             for (int j = 0; j < 4; ++j) {
                               for (int t = 0; t < T; ++t)
                                 sums[j][t] = _mm512_fmadd_ps(step.column[j], _mm512_set1_ps(*values++), sums[j][t]);
                             }
                           }
                           for (int t = 0; t < T; ++t) {
                             float* to = y + t * y_stride + strip * 16;
                             const __m512 sum = _mm512_add_ps(_mm512_add_ps(sums[0][t], sums[1][t]),
                                                              _mm512_add_ps(sums[2][t], sums[3][t]));
                             _mm512_storeu_ps(to, _mm512_fmadd_ps(scale, sum, _mm512_loadu_ps(to)));
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
    for_each_group<Bits>(s, cols, (n_rows + 15) / 16,
                         [&](const uint8_t* codes, int64_t n_tiles, int64_t col, int64_t group, __m512 scale,
                             __m512 zero, int64_t strip) {
                           const int64_t rows = at_most(16, n_rows - strip * 16);
                           for (int64_t i = 0; i < n_tiles; ++i) {
                             const Steps step = steps(tile_codes<Bits>(codes + i * 8 * Bits), zero);
                             alignas(64) float columns[4][16];
                             for (int j = 0; j < 4; ++j)
                               _mm512_store_ps(columns[j], _mm512_mul_ps(scale, step.column[j]));
                             const int64_t n = at_most(4, n_cols - col - 4 * i);
                             float* to = out + strip * 16 * stride + col + 4 * i;
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

}  // namespace scalebits::avx512
