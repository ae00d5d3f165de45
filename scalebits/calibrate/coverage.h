// SPDX-License-Identifier: Apache-2.0
/// How many tokens of a text each expert of a mixture sees.
#pragma once

#include <span>
#include <vector>

#include "scalebits/calibrate/forward.h"

namespace scalebits {

/// Of one layer that has experts.
struct LayerCoverage {
  int64_t layer = 0;
  std::vector<int64_t> tokens;  ///< [n_experts]

  [[nodiscard]] double mean() const;
  /// Experts that see less than 10 % of the mean: what is measured for them is mostly chance.
  [[nodiscard]] std::vector<int64_t> rare() const;
};

/// One forward pass. None for a model without experts.
std::vector<LayerCoverage> expert_coverage(const ModelWeights& weights, std::span<const Sequence> sequences);

}  // namespace scalebits
