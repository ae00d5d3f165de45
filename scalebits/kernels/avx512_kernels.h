// SPDX-License-Identifier: Apache-2.0
/// The kernels of avx512 that are not in avx512.cc; documented in kernels.h.
#pragma once

#include "scalebits/kernels/kernels.h"

namespace scalebits::avx512 {

// avx512_float.cc
void gemv(const PackedPanels& w, int64_t panel, const FloatTokens& x, float* y, int64_t y_stride) noexcept;
void decode_panel(const PackedPanels& w, int64_t panel, float* out, int64_t stride) noexcept;
// avx512_dense.cc
void gemv_bf16(const uint16_t* w, int64_t n_rows, int64_t n_cols, const float* x, int32_t n_tokens, float* y,
               int64_t y_stride) noexcept;
float quantize_group(const float* x, int64_t n, int8_t* values, int8_t* rest, float* sums) noexcept;
void swiglu(float* gate, const float* up, int64_t n) noexcept;
void geglu(float* gate, const float* up, int64_t n) noexcept;
uint64_t read(const uint8_t* from, int64_t n_bytes) noexcept;
// avx512_attend.cc
void attend(const AttentionRows& rows, float* out) noexcept;

}  // namespace scalebits::avx512
