// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/avx2_kernels.h"
#include "scalebits/kernels/avx2_math.h"

namespace scalebits::avx2 {
namespace {

/// What a row has for each key of a tile: scores first, then the probabilities that they become.
struct alignas(32) TileKeys {
  float v[kKeyTile];
};

/// The first n values, n even; channels come in pairs, and two f16 are a word that can be masked.
inline __m256 f16_first(const uint16_t* p, int64_t n) {
  if (n >= 8) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m128i pairs = _mm256_castsi256_si128(first(n / 2));
  return _mm256_cvtph_ps(_mm_maskload_epi32(reinterpret_cast<const int*>(p), pairs));
}

/// scores[i] = q[i] . k of the 16 keys of a tile. Two sums each, of even and odd channels. Half a tile and four rows at
/// a time, which is as many sums as the registers hold.
template <int R>
inline void score_tile(const float* q, const uint16_t* k, int64_t d, TileKeys* scores) {
  if constexpr (R > 4) {
    score_tile<4>(q, k, d, scores);
    score_tile<R - 4>(q + 4 * d, k, d, scores + 4);
  } else {
    for (int half = 0; half < kKeyTile; half += 8) {
      __m256 even[R], odd[R];
      for (int i = 0; i < R; ++i) even[i] = odd[i] = _mm256_setzero_ps();
      for (int64_t c = 0; c < d; c += 2) {
        const __m256 k0 = f16_first(k + c * kKeyTile + half, 8), k1 = f16_first(k + (c + 1) * kKeyTile + half, 8);
        for (int i = 0; i < R; ++i) {
          even[i] = _mm256_fmadd_ps(_mm256_set1_ps(q[i * d + c]), k0, even[i]);
          odd[i] = _mm256_fmadd_ps(_mm256_set1_ps(q[i * d + c + 1]), k1, odd[i]);
        }
      }
      for (int i = 0; i < R; ++i) _mm256_store_ps(scores[i].v + half, _mm256_add_ps(even[i], odd[i]));
    }
  }
}

/// score = cap * tanh(score / cap)
template <int R>
inline void cap_scores(float cap, TileKeys* scores) {
  const __m256 to = _mm256_set1_ps(cap), by = _mm256_set1_ps(1.0F / cap);
  for (int i = 0; i < R; ++i) {
    for (float* v = scores[i].v; v < scores[i].v + kKeyTile; v += 8) {
      _mm256_store_ps(v, _mm256_mul_ps(to, tanh_values(_mm256_mul_ps(_mm256_load_ps(v), by))));
    }
  }
}

/// out[i] += sum over the keys from..to - 1 of p[i] * v.
template <int R>
inline void add_values(const TileKeys* p, const uint16_t* v, int64_t from, int64_t to, int64_t d, float* out) {
  for (int64_t c = 0; c < d; c += 8) {
    __m256 sums[R];
    for (int i = 0; i < R; ++i) sums[i] = load_first(out + i * d + c, d - c);
    for (int64_t key = from; key < to; ++key) {
      const __m256 values = f16_first(v + key * d + c, d - c);
      for (int i = 0; i < R; ++i) sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(p[i].v[key]), values, sums[i]);
    }
    for (int i = 0; i < R; ++i) store_first(out + i * d + c, d - c, sums[i]);
  }
}

inline void scale_row(float* row, int64_t d, float factor) {
  for (int64_t c = 0; c < d; c += 8) {
    store_first(row + c, d - c, _mm256_mul_ps(load_first(row + c, d - c), _mm256_set1_ps(factor)));
  }
}

/// The running state of one row.
struct Row {
  __m256 total = _mm256_setzero_ps();  ///< of the probabilities, by key of half a tile
  float top = -__builtin_inff();

  /// Scores to probabilities, 0 but for the keys from..to - 1 of the tile, which are one at least.
  void take(TileKeys& keys, int64_t from, int64_t to, float* out, int64_t d) {
    const __m256i mask[2] = {_mm256_andnot_si256(first(from), first(to)),
                             _mm256_andnot_si256(first(from - 8), first(to - 8))};
    __m256 scores[2];
    for (int h = 0; h < 2; ++h) {
      scores[h] = _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), _mm256_load_ps(keys.v + h * 8),
                                   _mm256_castsi256_ps(mask[h]));
    }
    const float tile_top = greatest_of(_mm256_max_ps(scores[0], scores[1]));
    if (tile_top > top) {
      const __m256 fade = exp_values(_mm256_set1_ps(top - tile_top));  // of the zeros so far, the first time
      scale_row(out, d, _mm256_cvtss_f32(fade));
      total = _mm256_mul_ps(total, fade);
      top = tile_top;
    }
    for (int h = 0; h < 2; ++h) {
      const __m256 p = exp_values(_mm256_sub_ps(scores[h], _mm256_set1_ps(top)));
      const __m256 seen_p = _mm256_and_ps(p, _mm256_castsi256_ps(mask[h]));
      total = _mm256_add_ps(total, seen_p);
      _mm256_store_ps(keys.v + h * 8, seen_p);
    }
  }
};

template <int R>
void attend_of(const AttentionRows& a, float* out) {
  const int64_t d = a.head_dim;
  Row rows[R];
  TileKeys keys[R];
  int64_t begin = a.first_key[0], all_from = 0, all_to = a.n_keys[0], end = 0;  // seen by some row, seen by all rows
  for (int i = 0; i < R; ++i) {
    begin = at_most(begin, a.first_key[i]);
    all_from = at_least(all_from, a.first_key[i]);
    all_to = at_most(all_to, a.n_keys[i]);
    end = at_least(end, a.n_keys[i]);
    for (int64_t c = 0; c < d; c += 8) store_first(out + i * d + c, d - c, _mm256_setzero_ps());
  }
  for (int64_t key = begin / kKeyTile * kKeyTile; key < end; key += kKeyTile) {
    const uint16_t* v = a.v + key * d;
    score_tile<R>(a.q, a.k + key * d, d, keys);
    if (a.cap > 0) cap_scores<R>(a.cap, keys);
    for (int i = 0; i < R; ++i) {
      const int64_t from = a.first_key[i] - key, to = a.n_keys[i] - key;
      if (from < kKeyTile && to > 0) rows[i].take(keys[i], from, to, out + i * d, d);
    }
    if (all_from <= key && key + kKeyTile <= all_to) {
      add_values<R>(keys, v, 0, kKeyTile, d, out);
      continue;
    }
    // A value that a row does not see may be infinite, and 0 times that is NaN.
    for (int i = 0; i < R; ++i) {
      const int64_t from = at_least(0, a.first_key[i] - key), to = at_most(kKeyTile, a.n_keys[i] - key);
      add_values<1>(keys + i, v, from, to, d, out + i * d);
    }
  }
  for (int i = 0; i < R; ++i) scale_row(out + i * d, d, 1.0F / sum_of(rows[i].total));
}

}  // namespace

void attend(const AttentionRows& rows, float* out) noexcept {
  using Function = void (*)(const AttentionRows&, float*);
  static constexpr Function kOf[] = {attend_of<1>, attend_of<2>, attend_of<3>, attend_of<4>,
                                     attend_of<5>, attend_of<6>, attend_of<7>, attend_of<8>};
  kOf[rows.n_rows - 1](rows, out);
}

}  // namespace scalebits::avx2
