// SPDX-License-Identifier: Apache-2.0
/// Coordinate descent on the codes, scales and zero points of a rounded matrix, one row panel (all blocks of the same
/// rows) at a time.
#pragma once

#include <vector>

#include "scalebits/calibrate/feedback.h"
#include "scalebits/format/packed.h"
#include "scalebits/format/plan.h"

namespace scalebits {

/// A row panel as it will be packed.
struct RoundedPanel {
  std::vector<std::vector<uint8_t>> codes;       ///< [col_blocks] of [rows, cols of the block]
  std::vector<std::vector<GroupParams>> params;  ///< [col_blocks] of [rows, groups of the block]
  at::Tensor decoded;                            ///< [rows, in_features] f32
};

/// Lowers tr(E H E^T), E = decoded - target, H = Feedback::h, by sweeps over the columns. In each group first scale and
/// zero point move to the best of their neighbours, codes as they are; then each code moves to the one that is best
/// while all others stay (QuantEase, arXiv 2309.01885, without outliers). Rounding errors of f32 aside, no step raises
/// it. Ends after `sweeps`, or when a sweep changes nothing.
/// @param target [rows, in_features] f32: what the panel stands for
void refine(const LinearPlan& linear, int64_t row_block, const at::Tensor& target, const Feedback& feedback, int sweeps,
            RoundedPanel& panel);

}  // namespace scalebits
