// SPDX-License-Identifier: Apache-2.0
/// Error-compensated rounding of one matrix whose blocks have different widths: GPTQ (arXiv 2210.17323) in the form of
/// LDLQ (QuIP, arXiv 2307.13304, theorem 6: the two are the same), which needs no inverse of the Hessian.
#pragma once

#include "scalebits/calibrate/feedback.h"
#include "scalebits/format/plan.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {

/// Of models/demo-5m at 2.5 bpw: none 17 % more KL, 1 sweep 4 %, 3 sweeps 2 %, 15 sweeps the same
/// (bench/log/2026-11-22-error-compensation.md).
inline constexpr int kRefineSweeps = 6;

/// Codes and group parameters of the whole matrix, columns in storage order. Scale and zero point of a group are fitted
/// to the compensated weights when its first column is reached. Then all of them are refined (pack/refine.h).
/// @param weight [out_features, in_features] f32 in the stored order
/// @param decoded what the packed matrix decodes to, same shape, or nullptr
/// @param sweeps  of the refinement; 0 = GPTQ alone
PackedMatrix pack_compensated(const LinearPlan& linear, const at::Tensor& weight, const Feedback& feedback,
                              const GroupQuantizer& quantizer, at::Tensor* decoded, int sweeps = kRefineSweeps);

}  // namespace scalebits
