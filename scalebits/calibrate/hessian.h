// SPDX-License-Identifier: Apache-2.0
/// Second moments of the inputs of linear layers: the Hessians of their squared output error.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "scalebits/calibrate/activation_store.h"
#include "scalebits/calibrate/sensitivity.h"

namespace scalebits {

/// By projection [in_features, in_features] f32, channels in the order that the matrix stores its columns in; upper
/// triangles. Undefined where the matrix is not quantized.
using LayerHessians = std::array<at::Tensor, kProjCount>;

struct LayerInputs {
  const ActivationStore& states;  ///< slot s: what the decoder layer gets from sequence s
  int64_t n_sequences;
  int64_t length;  ///< of the longest
};

/// Sums of (r x) (r x)^T over the tokens of the sequences, x what a linear layer of `layer` gets. Does not depend on
/// the number of threads.
/// @param root_weight  r of the tokens of a sequence for a matrix (index of the item), [T, 1]; empty = 1
LayerHessians sum_hessians(const QuantizedWeights& weights, int64_t l, const DecoderLayer& layer, const RopeTable& rope,
                           const LayerInputs& inputs,
                           const std::function<at::Tensor(size_t item, int64_t s)>& root_weight);

/// [item][in_features], storage order: the share of a column's squared error that is left when its error is fed back to
/// the columns after it, D[c] / H[c, c] (feedback.h), at full precision. One forward pass.
std::vector<std::vector<float>> column_shares(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                                              const PassOptions& pass, Log& log);

}  // namespace scalebits
