// SPDX-License-Identifier: Apache-2.0
/// Matrix products of the model on the CPU: oneDNN for f32 (it picks its code by instruction set; OpenBLAS 0.3.21 picks
/// by processor name and halves its speed on newer ones), libtorch for bf16.
#pragma once

#include "scalebits/model/torch.h"

namespace scalebits {

/// x [..., k] times w [n, k] transposed -> [..., n]; both f32 or both bf16.
at::Tensor matmul_nt(const at::Tensor& x, const at::Tensor& w);

/// x [..., n] times w [n, k] -> [..., k].
at::Tensor matmul_nn(const at::Tensor& x, const at::Tensor& w);

/// out [n, k] = dy[:, first : first + n]^T x for dy [t, *], x [t, k]: rows of a weight gradient. f32, contiguous.
void matmul_tn(const at::Tensor& dy, int64_t first, int64_t n, const at::Tensor& x, float* out);

}  // namespace scalebits
