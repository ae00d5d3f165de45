// SPDX-License-Identifier: Apache-2.0
/// How the rounding errors of a row's weights are fed back to the weights after them, from the second moment of the
/// layer's inputs.
#pragma once

#include <string>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/model/torch.h"

namespace scalebits {

/// H = (I + F) D (I + F)^T with F strictly upper triangular: the error of column k changes what column j > k should be
/// rounded from by -F[k, j] times that error, and what is then left of the error of column j counts D[j].
struct Feedback {
  at::Tensor f;          ///< [n, n] f32; only what is above the diagonal is meant
  std::vector<float> d;  ///< [n], positive
  double damping = 0;    ///< share of the mean diagonal that was added to the diagonal
  at::Tensor h;          ///< [n, n] f32, H itself: symmetric and damped
};

/// @param hessian [n, n] f32, sum of x x^T over the layer's inputs; its upper triangle is used; overwritten
/// (Feedback::h)
/// @param name    of the layer, for the log line when more than the least damping was needed
/// @throws Error when the Hessian is not finite, or no damping makes it positive definite
Feedback error_feedback(at::Tensor hessian, const std::string& name, Log& log);

/// b = b H^-1. @param b [m, n] f32, contiguous
void solve_rows(const Feedback& feedback, at::Tensor& b);

}  // namespace scalebits
