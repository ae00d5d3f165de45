// SPDX-License-Identifier: Apache-2.0
/// Moments of the inputs of linear layers: the second is the Hessian of their squared output error.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "scalebits/calibrate/activation_store.h"
#include "scalebits/calibrate/sensitivity.h"

namespace scalebits {

/// What a linear layer gets, summed over tokens; channels in the order that the matrix stores its columns in. x and x'
/// are the layer's inputs of a token in this model and in the one it should follow, r the root of the token's weight.
struct InputMoments {
  at::Tensor second;  ///< sum of (r x) (r x)^T [in_features, in_features] f32, upper triangle
  at::Tensor drift;   ///< sum of (r (x' - x)) (r x)^T [in_features, in_features] f32; undefined without x'
  at::Tensor owed;    ///< sum of (r y) (r x)^T [out_features, in_features] f32, y what the output should add to W x'
};
/// Undefined where a matrix is not quantized or was not asked for.
class LayerMoments {
 public:
  explicit LayerMoments(size_t n) : moments_(n) {}
  [[nodiscard]] InputMoments& operator[](Slot slot) { return moments_[slot.index()]; }
  [[nodiscard]] const InputMoments& operator[](Slot slot) const { return moments_[slot.index()]; }

 private:
  std::vector<InputMoments> moments_;
};

/// How the inputs of a layer's matrices come about.
struct MomentSource {
  int64_t layer;
  std::span<const Slot> slots;
  int64_t n_sequences;
  int64_t length;  ///< of the longest
  /// x of a sequence, undefined for an expert that sees none of its tokens; from any thread of the pool
  std::function<LayerTaps(int64_t s)> taps;
  std::function<LayerTaps(int64_t s)> should_be = {};  ///< x' of the same tokens, or empty
  /// y of the tokens of x, [n, out_features] in the model's order, or empty
  std::function<at::Tensor(Slot slot, int64_t s)> owed = {};
  /// r of the tokens of x, [n, 1]; empty = 1
  std::function<at::Tensor(Slot slot, int64_t s)> root_weight = {};
};

/// Experts of a layer whose moments (of two texts, with their drift) are held together: as many as fit in 2 GiB, and
/// one at least.
int64_t experts_at_once(const ModelConfig& config);

/// Does not depend on the number of threads.
LayerMoments sum_moments(const QuantizedWeights& weights, const MomentSource& source);

/// [item][in_features], storage order: the share of a column's squared error that is left when its error is fed back to
/// the columns after it, D[c] / H[c, c] (feedback.h), at full precision. One forward pass.
std::vector<std::vector<float>> column_shares(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                                              const PassOptions& pass, Log& log);

}  // namespace scalebits
