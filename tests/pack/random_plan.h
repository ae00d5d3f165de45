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
    if (!c.has_experts(l)) layer.mlp = random_permutation(rng, c.d_ff);
    for (int64_t e = 0; c.has_experts(l) && e < c.experts.n_experts; ++e) {
      layer.experts.push_back(random_permutation(rng, c.experts.d_ff));
    }
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

/// Puts orders of their own in the place of the folded ones.
inline void draw_fused_orders(Plan& plan, const ModelConfig& config, bool tie, uint64_t seed) {
  Rng rng(seed);
  QuantizedLayers layers = find_quantized_layers(config, plan.spec);
  reserve_orders(layers, true, true, tie);
  plan.order = {};
  plan.reorder = "both";
  plan.reorder_mode = "fused";
  plan.tie = tie ? "fused" : "none";
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    LinearPlan& linear = plan.linears[i];
    linear.row_perm = random_permutation(rng, linear.grid.out_features());
    linear.shares_cols = layers.items[i].shares_cols;
    linear.col_perm =
        linear.shares_cols ? plan.linears[i - 1].col_perm : random_permutation(rng, linear.grid.in_features());
  }
}

/// The layers of `plan` in its orders, for QuantizedWeights.
inline QuantizedLayers layers_of(const Plan& plan, const ModelConfig& config) {
  QuantizedLayers layers = find_quantized_layers(config, plan.spec);
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    layers.items[i].order = plan.linears[i].order();
    layers.items[i].shares_cols = plan.linears[i].shares_cols;
  }
  return layers;
}

}  // namespace scalebits::test
