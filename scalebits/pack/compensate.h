// SPDX-License-Identifier: Apache-2.0
/// Error-compensated rounding of a whole model, layer by layer and within a layer in the order of computation: a
/// matrix's Hessian comes from the inputs that reach it through everything already rounded, each token weighted by how
/// much the loss minds an error there, and its weights make up for how these inputs, and the residual
/// stream, differ from the full-precision model's.
#pragma once

#include "scalebits/calibrate/quantized_weights.h"
#include "scalebits/calibrate/tokens.h"
#include "scalebits/format/plan.h"
#include "scalebits/pack/token_weights.h"

namespace scalebits {

struct CompensatedModel {
  std::vector<PackedMatrix> matrices;  ///< one for each linear layer of the plan, in its order
  double heldout_kl = 0;               ///< nats per position of the model as packed
};

/// @param weights  the dense model in the plan's order; its widths are not looked at
/// @param calib    gradient part: for the Hessians; held-out part: for one number in each matrix, and measured
/// @param roots    of the gradient part's sequences, then the held-out ones (root_token_weights)
/// @param pass     memory limit of the activations; beyond it they go to its work directory
/// @throws Error naming the layer whose inputs are not finite; Interrupted between layers
CompensatedModel compensate(const QuantizedWeights& weights, const Plan& plan, const CalibSet& calib,
                            const TokenWeights& roots, const PassOptions& pass, Log& log);

}  // namespace scalebits
