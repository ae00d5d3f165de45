// SPDX-License-Identifier: Apache-2.0
/// Small pieces that files of this instruction set share, all in an unnamed namespace.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace scalebits::avx2 {
namespace {

inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

/// The first n of 8 lanes; all from n = 8 on, none up to n = 0.
inline __m256i first(int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(at_most(n, 8))), lanes);
}
/// The first n values, n >= 1, and zeros; what lies behind them is neither read nor written.
inline __m256 load_first(const float* p, int64_t n) {
  return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first(n));
}
inline void store_first(float* p, int64_t n, __m256 v) {
  if (n >= 8) {
    _mm256_storeu_ps(p, v);
  } else {
    _mm256_maskstore_ps(p, first(n), v);
  }
}

inline float sum_of(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float greatest_of(__m256 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
/// Of 32-bit integers.
inline int greatest_of(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}
inline int sum_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/// e^x for x <= 0, as accurate as f32 allows but for two units in the last place; 1e-38 below -87. NaN stays NaN.
/// Range reduction of Cody and Waite; the polynomial is the Taylor series of degree 7 on |r| <= ln(2) / 2, whose
/// remainder is below 6e-9.
inline __m256 exp_values(__m256 x) {
  x = _mm256_max_ps(_mm256_set1_ps(-87.0F), x);
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504F)), 8);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375F), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4F), r);
  constexpr float kCoefficients[] = {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F};
  __m256 p = _mm256_set1_ps(1.0F / 5040);
  for (const float c : kCoefficients) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
  // n into the exponent, which stays normal: e^-87 is 1.4 * 2^-126. n of NaN becomes 0 << 23.
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}

/// 1 / (1 + e^-x), as accurate relatively as exp_values; 0 below -87.
inline __m256 sigmoid_values(__m256 x) {
  // With e = e^-|x| it is 1 / (1 + e) or e / (1 + e), and 0 where e would not be a normal number.
  const __m256 one = _mm256_set1_ps(1.0F), e = exp_values(_mm256_or_ps(x, _mm256_set1_ps(-0.0F)));
  const __m256 top = _mm256_blendv_ps(one, e, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
  const __m256 seen = _mm256_cmp_ps(x, _mm256_set1_ps(-87.0F), _CMP_NLT_UQ);
  return _mm256_div_ps(_mm256_and_ps(top, seen), _mm256_add_ps(one, e));
}

/// tanh(x), off by at most 4 * 2^-24; NaN stays NaN.
inline __m256 tanh_values(__m256 x) {
  const __m256 one = _mm256_set1_ps(1.0F), sign = _mm256_set1_ps(-0.0F);
  const __m256 e = exp_values(_mm256_mul_ps(_mm256_set1_ps(2.0F), _mm256_or_ps(x, sign)));
  return _mm256_or_ps(_mm256_div_ps(_mm256_sub_ps(one, e), _mm256_add_ps(one, e)), _mm256_and_ps(x, sign));
}

}  // namespace
}  // namespace scalebits::avx2
