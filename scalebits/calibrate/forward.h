// SPDX-License-Identifier: Apache-2.0
/// Forward passes over many sequences, one layer's weights at a time.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "scalebits/calibrate/objective.h"

namespace scalebits {

using Sequence = std::vector<TokenId>;

/// Positions whose inputs or taps are held at once; bounds memory, does not change results.
inline constexpr int64_t kMicrobatchPositions = 4096;

/// Tokens of the longest; 0 where there is none.
int64_t longest(std::span<const Sequence> sequences);

/// What else is wanted of a forward pass.
struct LayerWatch {
  /// Gets the layer, the index of a sequence and what the layer's taps hold; from any thread of the pool.
  std::function<void(int64_t layer, int64_t s, const LayerTaps& taps)> taps = {};
  /// Follows all of a layer's sequences that are run at a time, from the calling thread.
  std::function<void(int64_t layer)> done = {};
  bool every_expert = false;  ///< LayerTaps::every_expert
};

/// Runs every sequence through the model layer by layer, as many sequences at a time as fit in `activation_bytes`, and
/// hands each one's final hidden states [T, d_model] f32 to `sink(index, hidden)`, from any thread of the pool.
void for_each_hidden(const ModelWeights& weights, std::span<const Sequence> sequences,
                     const std::function<void(int64_t, const at::Tensor&)>& sink,
                     int64_t activation_bytes = int64_t{1} << 30, const LayerWatch& watch = {});

/// Final hidden states of the full-precision model, one tensor per sequence.
std::vector<at::Tensor> reference_hidden(const ModelWeights& weights, std::span<const Sequence> sequences);

/// Mean loss in nats per position. @param reference as from reference_hidden (kKl)
/// @throws Error naming the sequence when a loss is not finite
double mean_loss(LossKind kind, const ModelWeights& weights, std::span<const Sequence> sequences,
                 std::span<const at::Tensor> reference);

}  // namespace scalebits
