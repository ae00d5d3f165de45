// SPDX-License-Identifier: Apache-2.0
/// From one layer's weight gradient to a few scalars per block.
#pragma once

#include "scalebits/calibrate/sensitivity.h"

namespace scalebits {

/// Sum over sequences of the gradient of the summed loss, and of its square. Lives for one layer of one pass.
struct WeightGradient {
  WeightGradient(Slot of, LinearShape shape);
  /// Adds one sequence's rows [first, first + n). @param g [n, in_features]
  void add(int64_t first, std::span<const float> g);

  Slot slot;
  int64_t out_features, in_features;
  std::vector<float> sum, squares;  ///< [out_features, in_features], in the model's order
};

/// Contracts with the current widths' candidate moves. @param positions of the whole pass
/// @param shares [in_features] in storage order (PassOptions::column_shares), or empty
/// @throws Error naming tensor and index of the first NaN or Inf
LinearSensitivity contract(const QuantizedWeights& weights, size_t item, const WeightGradient& gradient,
                           int64_t positions, std::span<const float> shares = {});

}  // namespace scalebits
