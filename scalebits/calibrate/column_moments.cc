// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/column_moments.h"

#include <cmath>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// Tokens that the mean over a layer's channels counts like: squares of a few inputs say little about the channel.
constexpr double kPriorTokens = 16;

/// Of a layer's inputs.
struct SquareSum {
  at::Tensor squares;  ///< [in_features] f64; undefined where no token came
  int64_t tokens = 0;

  void add(const SquareSum& other) {
    if (!other.squares.defined()) return;
    squares = squares.defined() ? squares + other.squares : other.squares;
    tokens += other.tokens;
  }
};

std::vector<float> mean(const SquareSum& sum, int64_t in_features, const std::string& name) {
  std::vector<float> moments(static_cast<size_t>(in_features));
  if (!sum.squares.defined()) return moments;
  const double prior = kPriorTokens * sum.squares.mean().item<double>() / static_cast<double>(sum.tokens);
  for (size_t c = 0; c < moments.size(); ++c) {
    const double square = sum.squares.data_ptr<double>()[c];
    if (!std::isfinite(square)) {
      fail<Error>(name, "squares of input channel {}: got {}, expected a finite sum. Are the weights sound?", c,
                  square);
    }
    moments[c] = static_cast<float>((square + prior) / (static_cast<double>(sum.tokens) + kPriorTokens));
  }
  return moments;
}

}  // namespace

ColumnMoments column_moments(const DenseWeights& dense, const QuantizedLayers& layers, const CalibSet& calib,
                             bool every_expert, int64_t activation_bytes) {
  std::vector<std::vector<size_t>> items_of(static_cast<size_t>(dense.config().n_layers));
  for (size_t i = 0; i < layers.items.size(); ++i) {
    items_of[static_cast<size_t>(layers.items[i].layer)].push_back(i);
  }
  std::vector<SquareSum> sums(layers.items.size());
  // [sequence][item of the layer at hand]: added up in order once all are there, so that threads do not change the sum.
  std::vector<std::vector<SquareSum>> of_sequence(calib.gradient.size());
  LayerWatch watch;
  watch.every_expert = every_expert;
  watch.taps = [&](int64_t layer, int64_t s, const LayerTaps& taps) {
    for (const size_t i : items_of[static_cast<size_t>(layer)]) {
      const at::Tensor& x = taps[layers.items[i].slot].x;
      SquareSum& sum = of_sequence[static_cast<size_t>(s)].emplace_back();
      if (x.defined()) sum = {x.square().sum(0, /*keepdim=*/false, at::kDouble), x.size(0)};
    }
  };
  watch.done = [&](int64_t layer) {
    const std::vector<size_t>& items = items_of[static_cast<size_t>(layer)];
    for (std::vector<SquareSum>& of : of_sequence) {
      for (size_t k = 0; k < of.size(); ++k) sums[items[k]].add(of[k]);
      of.clear();
    }
  };
  for_each_hidden(
      dense, calib.gradient, [](int64_t, const at::Tensor&) {}, activation_bytes, watch);
  ColumnMoments moments;
  for (size_t i = 0; i < sums.size(); ++i) {
    moments.push_back(mean(sums[i], layers.items[i].grid.in_features(), layers.items[i].name));
  }
  return moments;
}

std::vector<float> in_stored_order(const ColumnMoments& moments, size_t item, const ModelConfig& config,
                                   const FoldedOrder& folded, int64_t layer, Slot slot, const Permutation& own) {
  if (moments.empty()) return {};
  SCALEBITS_CHECK(static_cast<int64_t>(moments[item].size()) == linear_shape(config, layer, slot).in_features);
  const Permutation order = compose(folded_order(config, folded, layer, slot).cols, own);
  if (order.empty()) return moments[item];
  std::vector<float> stored;
  stored.reserve(order.size());
  for (const int32_t c : order) stored.push_back(moments[item][static_cast<size_t>(c)]);
  return stored;
}

}  // namespace scalebits
