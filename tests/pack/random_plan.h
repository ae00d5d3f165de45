// SPDX-License-Identifier: Apache-2.0
/// A plan with random widths and random folded orders: what packing must cope with, whatever a search would find.
#pragma once

#include <numeric>

#include "scalebits/base/rng.h"
#include "scalebits/calibrate/quantized_weights.h"
#include "scalebits/pack/pack.h"

namespace scalebits::test {

inline Permutation random_permutation(Rng& rng, int64_t n) {
  Permutation perm(static_cast<size_t>(n));
  std::iota(perm.begin(), perm.end(), 0);
  for (size_t i = perm.size(); i > 1; --i) std::swap(perm[i - 1], perm[rng.below(i)]);
  return perm;
}

inline FoldedOrder random_order(const ModelConfig& c, uint64_t seed) {
  Rng rng(seed);
  FoldedOrder order;
  order.residual = random_permutation(rng, c.d_model);
  for (int64_t l = 0; l < c.n_layers; ++l) {
    FoldedOrder::Layer layer;
    layer.mlp = random_permutation(rng, c.d_ff);
    layer.kv_heads = random_permutation(rng, c.n_kv_heads);
    for (int64_t g = 0; g < c.n_kv_heads; ++g) {
      layer.value.push_back(random_permutation(rng, c.head_dim));
      layer.query_heads.push_back(random_permutation(rng, c.n_heads / c.n_kv_heads));
    }
    order.layers.push_back(std::move(layer));
  }
  return order;
}

inline Plan random_plan(const Checkpoint& checkpoint, const ModelConfig& config, BlockSpec spec, uint64_t seed) {
  Rng rng(seed, 1);
  Plan plan;
  plan.spec = spec;
  plan.model_fingerprint = model_fingerprint(checkpoint);
  plan.calib_hash = "none";
  plan.order = random_order(config, seed);
  for (const auto& item : find_quantized_layers(config, spec).items) {
    LinearPlan linear{item.name, item.grid, {}, {}, {}};
    for (int64_t b = 0; b < item.grid.n_blocks(); ++b) linear.bits.push_back(static_cast<uint8_t>(1 + rng.below(8)));
    plan.linears.push_back(std::move(linear));
  }
  return plan;
}

}  // namespace scalebits::test
