// SPDX-License-Identifier: Apache-2.0
/// Error-compensated rounding of one matrix whose blocks have different widths: GPTQ (arXiv 2210.17323) in the form of
/// LDLQ (QuIP, arXiv 2307.13304, theorem 6: the two are the same), which needs no inverse of the Hessian.
#pragma once

#include <string>

#include "scalebits/base/log.h"
#include "scalebits/format/plan.h"
#include "scalebits/model/torch.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {

/// H = (I + F) D (I + F)^T with F strictly upper triangular: the error of column k changes what column j > k should be
/// rounded from by -F[k, j] times that error, and what is then left of the error of column j counts D[j].
struct Feedback {
  at::Tensor f;          ///< [n, n] f32; only what is above the diagonal is meant
  std::vector<float> d;  ///< [n], positive
  double damping = 0;    ///< share of the mean diagonal that was added to the diagonal
};

/// @param hessian [n, n] f32, sum of x x^T over the layer's inputs; its upper triangle is used, and overwritten
/// @param name    of the layer, for the log line when more than the least damping was needed
/// @throws Error when the Hessian is not finite, or no damping makes it positive definite
Feedback error_feedback(at::Tensor hessian, const std::string& name, Log& log);

/// Codes and group parameters of the whole matrix, columns in storage order. Scale and zero point of a group are fitted
/// to the compensated weights when its first column is reached.
/// @param weight [out_features, in_features] f32 in the stored order
/// @param decoded what the packed matrix decodes to, same shape, or nullptr
PackedMatrix pack_compensated(const LinearPlan& linear, const at::Tensor& weight, const Feedback& feedback,
                              const GroupQuantizer& quantizer, at::Tensor* decoded);

}  // namespace scalebits
