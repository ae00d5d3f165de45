// SPDX-License-Identifier: Apache-2.0
/// Matrix products of the model on the CPU: oneDNN for f32, libtorch for bf16 where the processor has instructions for
/// it and f32 products of the widened matrices elsewhere. Every f32 product goes through here, none through libtorch,
/// which would call the system's BLAS from several threads at once: Debian's libopenblas0-serial then gave other sums
/// in one run of twelve, the reference BLAS is slow, and OpenBLAS 0.3.21 picks its code by processor name and halves
/// its speed on newer ones. tools/lint/check_layers.py checks.
#pragma once

#include "scalebits/model/torch.h"

namespace scalebits {

/// x [..., k] times w [n, k] transposed -> [..., n]; both f32 or both bf16.
at::Tensor matmul_nt(const at::Tensor& x, const at::Tensor& w);

/// x [..., n] times w [n, k] -> [..., k].
at::Tensor matmul_nn(const at::Tensor& x, const at::Tensor& w);

/// a [t, n] transposed times b [t, k] -> [n, k]; contiguous.
at::Tensor matmul_tn(const at::Tensor& a, const at::Tensor& b);

/// a [b, h, m, k] times b [b, h, k, n], or b [b, h, n, k] transposed -> [b, h, m, n]. Rows may be strided.
at::Tensor batched_matmul(const at::Tensor& a, const at::Tensor& b, bool transpose_b);

/// out [n, k] = dy[:, first : first + n]^T x for dy [t, *], x [t, k]: rows of a weight gradient. f32, contiguous.
void matmul_tn(const at::Tensor& dy, int64_t first, int64_t n, const at::Tensor& x, float* out);

/// c += alpha op(a) op(b), all f32 matrices whose rows may be strided (views of larger ones).
void add_product(at::Tensor& c, float alpha, const at::Tensor& a, bool transpose_a, const at::Tensor& b,
                 bool transpose_b);

}  // namespace scalebits
