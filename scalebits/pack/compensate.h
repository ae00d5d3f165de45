// SPDX-License-Identifier: Apache-2.0
/// Error-compensated rounding of a whole model, layer by layer: each layer's Hessians come from the inputs that reach
/// it through the layers already rounded, each token weighted by how much the loss minds an error there.
#pragma once

#include "scalebits/calibrate/quantized_weights.h"
#include "scalebits/calibrate/sensitivity.h"
#include "scalebits/calibrate/tokens.h"
#include "scalebits/format/plan.h"

namespace scalebits {

struct CompensatedModel {
  std::vector<PackedMatrix> matrices;  ///< one for each linear layer of the plan, in its order
  double heldout_kl = 0;               ///< nats per position of the model as packed
};

/// @param weights  the dense model in the plan's order, seen at the plan's widths
/// @param calib    gradient part: for the Hessians; held-out part: only measured
/// @param pass     memory limit of the activations; beyond it they go to its work directory
/// @throws Error naming the layer whose inputs are not finite; Interrupted between layers
CompensatedModel compensate(const QuantizedWeights& weights, const Plan& plan, const CalibSet& calib,
                            const PassOptions& pass, Log& log);

}  // namespace scalebits
