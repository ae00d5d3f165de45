// SPDX-License-Identifier: Apache-2.0
/// How much the loss minds an error in the output of a linear layer at each token of the calibration text.
#pragma once

#include "scalebits/calibrate/sensitivity.h"

namespace scalebits {

/// Roots of token weights, [item][sequence] of [T, 1] with a mean square of 1 (the Hessians' sums must not vanish in
/// f32): of the full-precision model, with targets drawn from it, so that the squared gradients are Fisher information
/// (GuidedQuant, arXiv 2505.07004, with one group of outputs). The same for every plan.
/// @param weights  says which layers are quantized
TokenWeights root_token_weights(const QuantizedWeights& weights, std::span<const Sequence> sequences, PassOptions pass);

}  // namespace scalebits
