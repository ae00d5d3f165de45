// SPDX-License-Identifier: Apache-2.0
/// Factorization of the Hessians of error compensation.
#pragma once

#include "scalebits/model/torch.h"

namespace scalebits {

/// Overwrites the upper triangle of a symmetric matrix h [n, n] f32 by the upper triangular U with h = U U^T (the
/// Cholesky factorization taken from the last row up). Blocked, so nearly all of it is matrix products; deterministic.
/// What is below the diagonal is neither read nor written.
/// @return false, with h spoilt, where h is not positive definite in f32
bool upper_cholesky(at::Tensor& h);

}  // namespace scalebits
