// SPDX-License-Identifier: Apache-2.0
/// Error-compensated rounding of one matrix whose blocks have different widths: GPTQ (arXiv 2210.17323) in the form of
/// LDLQ (QuIP, arXiv 2307.13304, theorem 6: the two are the same), which needs no inverse of the Hessian.
#pragma once

#include "scalebits/calibrate/feedback.h"
#include "scalebits/format/plan.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {

/// Codes and group parameters of the whole matrix, columns in storage order. Scale and zero point of a group are fitted
/// to the compensated weights when its first column is reached.
/// @param weight [out_features, in_features] f32 in the stored order
/// @param decoded what the packed matrix decodes to, same shape, or nullptr
PackedMatrix pack_compensated(const LinearPlan& linear, const at::Tensor& weight, const Feedback& feedback,
                              const GroupQuantizer& quantizer, at::Tensor* decoded);

}  // namespace scalebits
