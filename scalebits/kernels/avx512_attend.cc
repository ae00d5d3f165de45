// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/avx512_dense.h"
#include "scalebits/kernels/avx512_math.h"

namespace scalebits::avx512 {
namespace {

/// The running state of up to kMaxQueryRows rows.
struct Rows {
  __m512 total[kMaxQueryRows];  ///< of the probabilities, by key of a tile
  float top[kMaxQueryRows];
  alignas(64) float p[kMaxQueryRows][kKeyTile];
};

/// scores[i] = q[i] . k of the 16 keys of a tile. Two sums each, of even and odd channels.
template <int R>
inline void score_tile(const float* q, const uint16_t* k, int64_t d, __m512* scores) {
  __m512 even[R], odd[R];
  for (int i = 0; i < R; ++i) even[i] = odd[i] = _mm512_setzero_ps();
  for (int64_t c = 0; c < d; c += 2) {
    const __m512 k0 = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(k + c * kKeyTile)));
    const __m512 k1 = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(k + (c + 1) * kKeyTile)));
    for (int i = 0; i < R; ++i) {
      even[i] = _mm512_fmadd_ps(_mm512_set1_ps(q[i * d + c]), k0, even[i]);
      odd[i] = _mm512_fmadd_ps(_mm512_set1_ps(q[i * d + c + 1]), k1, odd[i]);
    }
  }
  for (int i = 0; i < R; ++i) scores[i] = _mm512_add_ps(even[i], odd[i]);
}

/// out[i] += sum over the first n keys of p[i] * v.
template <int R>
inline void add_values(const float (*p)[kKeyTile], const uint16_t* v, int64_t n, int64_t d, float* out) {
  for (int64_t c = 0; c < d; c += 16) {
    const __mmask16 mask = first(at_most(16, d - c));
    __m512 sums[R];
    for (int i = 0; i < R; ++i) sums[i] = _mm512_maskz_loadu_ps(mask, out + i * d + c);
    for (int64_t key = 0; key < n; ++key) {
      const __m512 values = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, v + key * d + c));
      for (int i = 0; i < R; ++i) sums[i] = _mm512_fmadd_ps(_mm512_set1_ps(p[i][key]), values, sums[i]);
    }
    for (int i = 0; i < R; ++i) _mm512_mask_storeu_ps(out + i * d + c, mask, sums[i]);
  }
}

inline void scale_row(float* row, int64_t d, float factor) {
  for (int64_t c = 0; c < d; c += 16) {
    const __mmask16 mask = first(at_most(16, d - c));
    _mm512_mask_storeu_ps(row + c, mask, _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row + c), _mm512_set1_ps(factor)));
  }
}

template <int R>
void attend_of(const AttentionRows& a, float* out) {
  const int64_t d = a.head_dim;
  Rows rows;
  int64_t least = a.n_keys[0], most = 0;
  for (int i = 0; i < R; ++i) {
    rows.total[i] = _mm512_setzero_ps();
    rows.top[i] = -__builtin_inff();
    least = at_most(least, a.n_keys[i]);
    most = a.n_keys[i] > most ? a.n_keys[i] : most;
    for (int64_t c = 0; c < d; c += 16)
      _mm512_mask_storeu_ps(out + i * d + c, first(at_most(16, d - c)), _mm512_setzero_ps());
  }
  for (int64_t key = 0; key < most; key += kKeyTile) {
    __m512 scores[R];
    score_tile<R>(a.q, a.k + key * d, d, scores);
    for (int i = 0; i < R; ++i) {
      const int64_t seen = a.n_keys[i] - key;
      const __mmask16 mask = seen <= 0 ? __mmask16{0} : first(at_most(16, seen));
      const float top = _mm512_mask_reduce_max_ps(mask, scores[i]);  // -inf for none
      if (top > rows.top[i]) {
        const __m512 fade = exp_values(_mm512_set1_ps(rows.top[i] - top));
        scale_row(out + i * d, d, rows.top[i] == -__builtin_inff() ? 0.0F : _mm512_cvtss_f32(fade));
        rows.total[i] = _mm512_mul_ps(rows.total[i], fade);
        rows.top[i] = top;
      }
      const __m512 p = exp_values(_mm512_sub_ps(scores[i], _mm512_set1_ps(rows.top[i])));
      const __m512 seen_p = _mm512_maskz_mov_ps(mask, p);
      rows.total[i] = _mm512_add_ps(rows.total[i], seen_p);
      _mm512_store_ps(rows.p[i], seen_p);
    }
    if (key + kKeyTile <= least) {
      add_values<R>(rows.p, a.v + key * d, kKeyTile, d, out);
      continue;
    }
    // A value that a row does not see may be infinite, and 0 times that is NaN.
    for (int i = 0; i < R; ++i) {
      add_values<1>(rows.p + i, a.v + key * d, at_most(kKeyTile, a.n_keys[i] - key), d, out + i * d);
    }
  }
  for (int i = 0; i < R; ++i) scale_row(out + i * d, d, 1.0F / _mm512_reduce_add_ps(rows.total[i]));
}

}  // namespace

void attend(const AttentionRows& rows, float* out) noexcept {
  using Function = void (*)(const AttentionRows&, float*);
  static constexpr Function kOf[] = {attend_of<1>, attend_of<2>, attend_of<3>, attend_of<4>,
                                     attend_of<5>, attend_of<6>, attend_of<7>, attend_of<8>};
  kOf[rows.n_rows - 1](rows, out);
}

}  // namespace scalebits::avx512
