// SPDX-License-Identifier: Apache-2.0
/// How large the inputs of linear layers are, channel by channel: what a squared error of a weight there costs the
/// layer's output.
#pragma once

#include "scalebits/calibrate/quantized_layers.h"
#include "scalebits/calibrate/tokens.h"

namespace scalebits {

/// Mean squared input of every channel of every layer to be quantized, over the tokens that reach it (0 where none
/// does), in the full-precision model. One forward pass over the first `n_sequences` of the gradient part.
/// @param every_expert      LayerTaps::every_expert
/// @param activation_bytes  hidden states that are held at once; does not change the result
/// @throws Error naming the layer whose inputs are not finite
ColumnMoments column_moments(const DenseWeights& dense, const QuantizedLayers& layers, const CalibSet& calib,
                             int64_t n_sequences, bool every_expert = false,
                             int64_t activation_bytes = int64_t{1} << 30);

/// Those of one layer's matrix in the order that its columns are stored in.
/// @param of_model  [in_features]; empty stays empty
/// @param folded    of the model, @param own  of the matrix after that (mode `fused`)
std::vector<float> in_stored_order(const std::vector<float>& of_model, const ModelConfig& config,
                                   const FoldedOrder& folded, int64_t layer, Slot slot, const Permutation& own);

}  // namespace scalebits
