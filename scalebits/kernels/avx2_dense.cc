// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/avx2_kernels.h"
#include "scalebits/kernels/avx2_math.h"

namespace scalebits::avx2 {
namespace {

/// The first n of 8 weights, n >= 1, and zeros.
inline __m256 bf16_first(const uint16_t* p, int64_t n) {
  alignas(16) uint16_t some[8] = {};
  if (n < 8) {
    for (int64_t i = 0; i < n; ++i) some[i] = p[i];
    p = some;
  }
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/// R rows times T tokens.
template <int R, int T>
inline void rows_bf16(const uint16_t* w, int64_t n_cols, const float* x, float* y, int64_t y_stride) {
  __m256 sums[R][T];
  for (auto& row : sums) {
    for (auto& sum : row) sum = _mm256_setzero_ps();
  }
  const auto add = [&](int64_t c, int64_t n) {
    __m256 values[T];
    for (int t = 0; t < T; ++t) values[t] = load_first(x + t * n_cols + c, n);
    for (int r = 0; r < R; ++r) {
      const __m256 weights = bf16_first(w + r * n_cols + c, n);
      for (int t = 0; t < T; ++t) sums[r][t] = _mm256_fmadd_ps(weights, values[t], sums[r][t]);
    }
  };
  int64_t c = 0;
  for (; c + 8 <= n_cols; c += 8) {
    if (c % 32 == 0) {
      for (int r = 0; r < R; ++r) _mm_prefetch(reinterpret_cast<const char*>(w + r * n_cols + c + 1024), _MM_HINT_T0);
    }
    add(c, 8);
  }
  if (c < n_cols) add(c, n_cols - c);
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < T; ++t) y[t * y_stride + r] = sum_of(sums[r][t]);
  }
}

template <int T>
void gemv_bf16_of(const uint16_t* w, int64_t n_rows, int64_t n_cols, const float* x, float* y, int64_t y_stride) {
  constexpr int kRows = T <= 2 ? 4 : T <= 4 ? 2 : 1;  // sums and values of all tokens fit in the registers
  int64_t r = 0;
  for (; r + kRows <= n_rows; r += kRows) rows_bf16<kRows, T>(w + r * n_cols, n_cols, x, y + r, y_stride);
  for (; r < n_rows; ++r) rows_bf16<1, T>(w + r * n_cols, n_cols, x, y + r, y_stride);
}

/// The low bytes of 8 integers in -127..127, or of the first 4.
inline void store_bytes(int8_t* to, int64_t n, __m256i integers) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(integers), _mm256_extracti128_si256(integers, 1));
  const long long bytes = _mm_cvtsi128_si64(_mm_packs_epi16(words, words));
  __builtin_memcpy(to, &bytes, n >= 8 ? 8 : 4);
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
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i most_bits = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i += 8) {
    const __m256i bits = _mm256_castps_si256(load_first(x + i, n - i));
    most_bits = _mm256_max_epi32(most_bits, _mm256_and_si256(bits, magnitude));
  }
  const int most_int = greatest_of(most_bits);
  const bool finite = most_int < 0x7f800000;
  float most;
  __builtin_memcpy(&most, &most_int, 4);
  const float inverse = finite && most > 0x1p-100F ? 127.0F / most : 0.0F;
  const __m256 used = _mm256_castsi256_ps(_mm256_set1_epi32(finite ? -1 : 0));  // 0 times what is not finite is not 0
  __m256i total = _mm256_setzero_si256(), rest_total = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 scaled = _mm256_mul_ps(_mm256_and_ps(load_first(x + i, n - i), used), _mm256_set1_ps(inverse));
    const __m256i nearest = _mm256_cvtps_epi32(scaled);
    const __m256 left = _mm256_sub_ps(scaled, _mm256_cvtepi32_ps(nearest));
    const __m256i rest_nearest = _mm256_cvtps_epi32(_mm256_mul_ps(left, _mm256_set1_ps(254.0F)));
    total = _mm256_add_epi32(total, nearest);
    rest_total = _mm256_add_epi32(rest_total, rest_nearest);
    store_bytes(values + i, n - i, nearest);
    store_bytes(rest + i, n - i, rest_nearest);
  }
  sums[0] = static_cast<float>(sum_of(total));
  sums[1] = static_cast<float>(sum_of(rest_total));
  return finite ? most / 127.0F : __builtin_nanf("");
}

namespace {

/// gate[i] = gate[i] * sigmoid(argument(gate[i])) * up[i]
template <class Argument>
inline void gate_by_sigmoid(float* gate, const float* up, int64_t n, const Argument& argument) {
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 x = load_first(gate + i, n - i);
    const __m256 gated = _mm256_mul_ps(x, sigmoid_values(argument(x)));
    store_first(gate + i, n - i, _mm256_mul_ps(gated, load_first(up + i, n - i)));
  }
}

}  // namespace

void swiglu(float* gate, const float* up, int64_t n) noexcept {
  gate_by_sigmoid(gate, up, n, [](__m256 x) { return x; });
}

void geglu(float* gate, const float* up, int64_t n) noexcept {
  gate_by_sigmoid(gate, up, n, [](__m256 x) {
    const __m256 cube = _mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.044715F), x), x), x);
    return _mm256_mul_ps(_mm256_set1_ps(2 * 0.797884561F), _mm256_add_ps(x, cube));
  });
}

uint64_t read(const uint8_t* from, int64_t n_bytes) noexcept {
  __m256i sums[8];
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (int64_t i = 0; i < n_bytes; i += 512) {
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) {
      if (j % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(from + i + 4096 + j * 32), _MM_HINT_T0);
      const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + j * 32));
      sums[j % 8] = _mm256_add_epi64(sums[j % 8], words);
    }
  }
  for (int j = 1; j < 8; ++j) sums[0] = _mm256_add_epi64(sums[0], sums[j]);
  const __m128i sum = _mm_add_epi64(_mm256_castsi256_si128(sums[0]), _mm256_extracti128_si256(sums[0], 1));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(sum)) + static_cast<uint64_t>(_mm_extract_epi64(sum, 1));
}

}  // namespace scalebits::avx2
