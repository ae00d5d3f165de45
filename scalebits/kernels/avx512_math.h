// SPDX-License-Identifier: Apache-2.0
/// Small pieces that files of this instruction set share, all in an unnamed namespace.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace scalebits::avx512 {
namespace {

inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
/// The first n of 16 lanes.
inline __mmask16 first(int64_t n) { return static_cast<__mmask16>((1U << n) - 1U); }

/// e^x for x <= 0, as accurate as f32 allows but for two units in the last place; 1e-38 below -87. NaN stays NaN.
/// Range reduction of Cody and Waite; the polynomial is the Taylor series of degree 7 on |r| <= ln(2) / 2, whose
/// remainder is below 6e-9.
inline __m512 exp_values(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-87.0F), x);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504F)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375F), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4F), r);
  constexpr float kCoefficients[] = {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F};
  __m512 p = _mm512_set1_ps(1.0F / 5040);
  for (const float c : kCoefficients) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

/// 1 / (1 + e^-x), as accurate relatively as exp_values; 0 below -87.
inline __m512 sigmoid_values(__m512 x) {
  // With e = e^-|x| it is 1 / (1 + e) or e / (1 + e), and 0 where e would not be a normal number.
  const __m512 e = exp_values(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_abs_ps(x)));
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  const __m512 top = _mm512_mask_mov_ps(_mm512_set1_ps(1.0F), negative, e);
  const __mmask16 seen = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0F), _CMP_NLT_UQ);
  return _mm512_div_ps(_mm512_maskz_mov_ps(seen, top), _mm512_add_ps(_mm512_set1_ps(1.0F), e));
}

/// tanh(x), off by at most 4 * 2^-24; NaN stays NaN.
inline __m512 tanh_values(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0F), e = exp_values(_mm512_mul_ps(_mm512_set1_ps(-2.0F), _mm512_abs_ps(x)));
  const __m512 size = _mm512_div_ps(_mm512_sub_ps(one, e), _mm512_add_ps(one, e));
  return _mm512_or_ps(size, _mm512_and_ps(x, _mm512_set1_ps(-0.0F)));
}

}  // namespace
}  // namespace scalebits::avx512
