// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/avx512_kernels.h"
#include "scalebits/kernels/avx512_math.h"

namespace scalebits::avx512 {
namespace {

inline __m512 bf16_values(__m256i bits) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

/// How far ahead of the weights in use memory is asked for, in elements.
constexpr int64_t kAhead = 4096;

/// One row times T tokens, row after row, so that memory is read in one stream. Two sums for each token, so that one
/// need not wait for the other.
template <int T>
inline void row_bf16(const uint16_t* w, int64_t n_cols, const float* x, float* y, int64_t y_stride) {
  __m512 sums[2][T];
  for (auto& chain : sums) {
    for (auto& sum : chain) sum = _mm512_setzero_ps();
  }
  const auto add = [&](int64_t c, __mmask16 mask, __m512* chain) {
    const __m512 weights = bf16_values(_mm256_maskz_loadu_epi16(mask, w + c));
    for (int t = 0; t < T; ++t) {
      chain[t] = _mm512_fmadd_ps(weights, _mm512_maskz_loadu_ps(mask, x + t * n_cols + c), chain[t]);
    }
  };
  int64_t c = 0;
  for (; c + 32 <= n_cols; c += 32) {
    _mm_prefetch(reinterpret_cast<const char*>(w + c + kAhead), _MM_HINT_T0);
    add(c, 0xffff, sums[0]);
    add(c + 16, 0xffff, sums[1]);
  }
  for (; c < n_cols; c += 16) add(c, first(at_most(16, n_cols - c)), sums[0]);
  for (int t = 0; t < T; ++t) y[t * y_stride] = _mm512_reduce_add_ps(_mm512_add_ps(sums[0][t], sums[1][t]));
}

template <int T>
void gemv_bf16_of(const uint16_t* w, int64_t n_rows, int64_t n_cols, const float* x, float* y, int64_t y_stride) {
  for (int64_t r = 0; r < n_rows; ++r) row_bf16<T>(w + r * n_cols, n_cols, x, y + r, y_stride);
}

}  // namespace

void gemv_bf16(const uint16_t* w, int64_t n_rows, int64_t n_cols, const float* x, int32_t n_tokens, float* y,
               int64_t y_stride) noexcept {
  using Function = void (*)(const uint16_t*, int64_t, int64_t, const float*, float*, int64_t);
  static constexpr Function kOf[] = {gemv_bf16_of<1>, gemv_bf16_of<2>, gemv_bf16_of<3>, gemv_bf16_of<4>,
                                     gemv_bf16_of<5>, gemv_bf16_of<6>, gemv_bf16_of<7>, gemv_bf16_of<8>};
  kOf[n_tokens - 1](w, n_rows, n_cols, x, y, y_stride);
}

float quantize_group(const float* x, int64_t n, int8_t* values, int8_t* rest, float* sums) noexcept {
  // As bits, so that NaN is greater than infinity, and that than all numbers.
  __m512i most_bits = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 16) {
    const __m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(first(at_most(16, n - i)), x + i));
    most_bits = _mm512_max_epi32(most_bits, _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)));
  }
  const int most_int = _mm512_reduce_max_epi32(most_bits);
  const bool finite = most_int < 0x7f800000;
  float most;
  __builtin_memcpy(&most, &most_int, 4);
  const float inverse = finite && most > 0x1p-100F ? 127.0F / most : 0.0F;
  __m512i total = _mm512_setzero_si512(), rest_total = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 there = first(at_most(16, n - i)), used = finite ? there : __mmask16{0};
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(used, x + i), _mm512_set1_ps(inverse));
    const __m512i nearest = _mm512_cvtps_epi32(scaled);
    const __m512 left = _mm512_sub_ps(scaled, _mm512_cvtepi32_ps(nearest));
    const __m512i rest_nearest = _mm512_cvtps_epi32(_mm512_mul_ps(left, _mm512_set1_ps(254.0F)));
    total = _mm512_add_epi32(total, nearest);
    rest_total = _mm512_add_epi32(rest_total, rest_nearest);
    _mm512_mask_cvtepi32_storeu_epi8(values + i, there, nearest);
    _mm512_mask_cvtepi32_storeu_epi8(rest + i, there, rest_nearest);
  }
  sums[0] = static_cast<float>(_mm512_reduce_add_epi32(total));
  sums[1] = static_cast<float>(_mm512_reduce_add_epi32(rest_total));
  return finite ? most / 127.0F : __builtin_nanf("");
}

namespace {

/// gate[i] = gate[i] * sigmoid(argument(gate[i])) * up[i]
template <class Argument>
inline void gate_by_sigmoid(float* gate, const float* up, int64_t n, const Argument& argument) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = first(at_most(16, n - i));
    const __m512 x = _mm512_maskz_loadu_ps(mask, gate + i);
    const __m512 gated = _mm512_mul_ps(x, sigmoid_values(argument(x)));
    _mm512_mask_storeu_ps(gate + i, mask, _mm512_mul_ps(gated, _mm512_maskz_loadu_ps(mask, up + i)));
  }
}

}  // namespace

void swiglu(float* gate, const float* up, int64_t n) noexcept {
  gate_by_sigmoid(gate, up, n, [](__m512 x) { return x; });
}

void geglu(float* gate, const float* up, int64_t n) noexcept {
  gate_by_sigmoid(gate, up, n, [](__m512 x) {
    const __m512 cube = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.044715F), x), x), x);
    return _mm512_mul_ps(_mm512_set1_ps(2 * 0.797884561F), _mm512_add_ps(x, cube));
  });
}

uint64_t read(const uint8_t* from, int64_t n_bytes) noexcept {
  __m512i sums[8];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  for (int64_t i = 0; i < n_bytes; i += 512) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      _mm_prefetch(reinterpret_cast<const char*>(from + i + 4096 + j * 64), _MM_HINT_T0);
      sums[j] = _mm512_add_epi64(sums[j], _mm512_loadu_si512(from + i + j * 64));
    }
  }
  for (int j = 1; j < 8; ++j) sums[0] = _mm512_add_epi64(sums[0], sums[j]);
  uint64_t lanes[8], sum = 0;  // the intrinsic that adds lanes up does so with a sign
  _mm512_storeu_si512(lanes, sums[0]);
  for (const uint64_t lane : lanes) sum += lane;
  return sum;
}

}  // namespace scalebits::avx512
