// SPDX-License-Identifier: Apache-2.0
/// How large the inputs of linear layers are, channel by channel: what a squared error of a weight there costs the
/// layer's output.
#pragma once

#include "scalebits/calibrate/tokens.h"

namespace scalebits {

/// Mean squared input of every channel of every layer to be quantized, in the full-precision model, over the tokens of
/// the gradient part that reach it. Where few do, it is drawn towards the mean of the layer's channels; 0 where none
/// does. One forward pass. Does not depend on the number of threads or on `activation_bytes`.
/// @param every_expert      LayerTaps::every_expert
/// @param activation_bytes  hidden states that are held at once
/// @throws Error naming the layer whose inputs are not finite
ColumnMoments column_moments(const DenseWeights& dense, const QuantizedLayers& layers, const CalibSet& calib,
                             bool every_expert = false, int64_t activation_bytes = int64_t{1} << 30);

/// Those of layers.items[item] in the order that its columns are stored in; empty stays empty.
/// @param folded  order of the model, @param own  of the matrix after that (mode `fused`)
std::vector<float> in_stored_order(const ColumnMoments& moments, size_t item, const ModelConfig& config,
                                   const FoldedOrder& folded, int64_t layer, Slot slot, const Permutation& own);

}  // namespace scalebits
