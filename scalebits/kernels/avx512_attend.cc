// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/avx512_kernels.h"
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

/// score = cap * tanh(score / cap)
template <int R>
inline void cap_scores(float cap, __m512* scores) {
  const __m512 to = _mm512_set1_ps(cap), by = _mm512_set1_ps(1.0F / cap);
  for (int i = 0; i < R; ++i) scores[i] = _mm512_mul_ps(to, tanh_values(_mm512_mul_ps(scores[i], by)));
}

/// out[i] += sum over the keys from..to - 1 of p[i] * v.
template <int R>
inline void add_values(const float (*p)[kKeyTile], const uint16_t* v, int64_t from, int64_t to, int64_t d, float* out) {
  for (int64_t c = 0; c < d; c += 16) {
    const __mmask16 mask = first(at_most(16, d - c));
    __m512 sums[R];
    for (int i = 0; i < R; ++i) sums[i] = _mm512_maskz_loadu_ps(mask, out + i * d + c);
    for (int64_t key = from; key < to; ++key) {
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
  int64_t begin = a.first_key[0], all_from = 0, all_to = a.n_keys[0], end = 0;  // seen by some row, seen by all rows
  for (int i = 0; i < R; ++i) {
    rows.total[i] = _mm512_setzero_ps();
    rows.top[i] = -__builtin_inff();
    begin = at_most(begin, a.first_key[i]);
    all_from = at_least(all_from, a.first_key[i]);
    all_to = at_most(all_to, a.n_keys[i]);
    end = at_least(end, a.n_keys[i]);
    for (int64_t c = 0; c < d; c += 16)
      _mm512_mask_storeu_ps(out + i * d + c, first(at_most(16, d - c)), _mm512_setzero_ps());
  }
  for (int64_t key = begin / kKeyTile * kKeyTile; key < end; key += kKeyTile) {
    __m512 scores[R];
    score_tile<R>(a.q, a.k + key * d, d, scores);
    if (a.cap > 0) cap_scores<R>(a.cap, scores);
    for (int i = 0; i < R; ++i) {
      const __mmask16 before = first(at_least(0, at_most(16, a.first_key[i] - key)));
      const __mmask16 mask = first(at_least(0, at_most(16, a.n_keys[i] - key))) & static_cast<__mmask16>(~before);
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
    if (all_from <= key && key + kKeyTile <= all_to) {
      add_values<R>(rows.p, a.v + key * d, 0, kKeyTile, d, out);
      continue;
    }
    // A value that a row does not see may be infinite, and 0 times that is NaN.
    for (int i = 0; i < R; ++i) {
      const int64_t from = at_least(0, a.first_key[i] - key), to = at_most(kKeyTile, a.n_keys[i] - key);
      add_values<1>(rows.p + i, a.v + key * d, from, to, d, out + i * d);
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
