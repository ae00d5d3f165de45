// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/column_moments.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// Of one sequence; undefined where no token reaches the layer.
struct SquareSum {
  at::Tensor squares;  ///< [in_features] f64
  int64_t tokens = 0;
};

std::vector<float> mean(const std::vector<SquareSum>& sums, int64_t in_features, const std::string& name) {
  at::Tensor total = at::zeros({in_features}, at::kDouble);
  int64_t tokens = 0;
  for (const SquareSum& sum : sums) {  // in order, so that threads do not change it
    if (!sum.squares.defined()) continue;
    total += sum.squares;
    tokens += sum.tokens;
  }
  const double* of = total.data_ptr<double>();
  std::vector<float> moments(static_cast<size_t>(in_features));
  for (size_t c = 0; c < moments.size(); ++c) {
    moments[c] = static_cast<float>(of[c] / static_cast<double>(std::max<int64_t>(tokens, 1)));
    if (std::isfinite(moments[c])) continue;
    fail<Error>(name, "second moment of input channel {}: got {}, expected a finite number. Are the weights sound?", c,
                moments[c]);
  }
  return moments;
}

}  // namespace

ColumnMoments column_moments(const DenseWeights& dense, const QuantizedLayers& layers, const CalibSet& calib,
                             int64_t n_sequences, bool every_expert, int64_t activation_bytes) {
  const auto n = std::min(static_cast<size_t>(n_sequences), calib.gradient.size());
  std::vector<std::vector<size_t>> items_of(static_cast<size_t>(dense.config().n_layers));
  for (size_t i = 0; i < layers.items.size(); ++i) {
    items_of[static_cast<size_t>(layers.items[i].layer)].push_back(i);
  }
  // [item][sequence], written by several threads
  std::vector<std::vector<SquareSum>> sums(layers.items.size(), std::vector<SquareSum>(n));
  const auto add = [&](int64_t layer, int64_t s, const LayerTaps& taps) {
    for (const size_t i : items_of[static_cast<size_t>(layer)]) {
      const at::Tensor& x = taps[layers.items[i].slot].x;
      if (!x.defined()) continue;
      sums[i][static_cast<size_t>(s)] = {x.square().sum(0, /*keepdim=*/false, at::kDouble), x.size(0)};
    }
  };
  for_each_hidden(
      dense, std::span(calib.gradient).first(n), [](int64_t, const at::Tensor&) {}, activation_bytes, add,
      every_expert);
  ColumnMoments moments;
  for (size_t i = 0; i < sums.size(); ++i) {
    moments.push_back(mean(sums[i], layers.items[i].grid.in_features(), layers.items[i].name));
  }
  return moments;
}

std::vector<float> in_stored_order(const std::vector<float>& of_model, const ModelConfig& config,
                                   const FoldedOrder& folded, int64_t layer, Slot slot, const Permutation& own) {
  const Permutation order = compose(folded_order(config, folded, layer, slot).cols, own);
  if (order.empty() || of_model.empty()) return of_model;
  SCALEBITS_CHECK(order.size() == of_model.size());
  std::vector<float> stored;
  stored.reserve(order.size());
  for (const int32_t c : order) stored.push_back(of_model[static_cast<size_t>(c)]);
  return stored;
}

}  // namespace scalebits
