// SPDX-License-Identifier: Apache-2.0
/// A whole matrix from weights to packed form, each group rounded for itself.
#pragma once

#include "scalebits/format/plan.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {

/// @param weight  [out_features, in_features] in the order in which they are to be stored, all finite
/// @param importance  [in_features] of each column in that order, or empty (GroupQuantizer::fit)
PackedMatrix pack_linear(const LinearPlan& linear, std::span<const float> weight, const GroupQuantizer& quantizer,
                         std::span<const float> importance = {});

}  // namespace scalebits
