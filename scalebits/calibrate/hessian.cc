// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/hessian.h"

#include <algorithm>

#include "scalebits/base/heap.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/feedback.h"
#include "scalebits/model/fold.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

/// Rows of a Hessian summed by one task.
constexpr int64_t kTaskRows = 128;

/// One task owns some rows of the sum and adds the sequences in order, so threads do not change it.
void add_hessian(const at::Tensor& h, Proj p, const std::vector<LayerTaps>& taps) {
  if (!h.defined()) return;
  const int64_t n = h.size(0);
  parallel_for((n + kTaskRows - 1) / kTaskRows, [&](int64_t i) {
    const int64_t first = i * kTaskRows, rows = std::min(kTaskRows, n - first);
    at::Tensor part = h.narrow(0, first, rows).narrow(1, first, n - first);
    for (const LayerTaps& sequence : taps) {
      const at::Tensor& x = sequence[static_cast<size_t>(p)].x;
      add_product(part, 1.0F, x.narrow(1, first, rows), true, x.narrow(1, first, n - first), false);
    }
  });
}

}  // namespace

LayerHessians sum_hessians(const QuantizedWeights& weights, int64_t l, const DecoderLayer& layer, const RopeTable& rope,
                           const LayerInputs& inputs,
                           const std::function<at::Tensor(size_t item, int64_t s)>& root_weight) {
  const ModelConfig& config = weights.config();
  LayerHessians hessians;
  for (const Proj p : kProjections) {
    const int64_t n = linear_shape(config, p).in_features;
    if (weights.item_of(l, p) >= 0) hessians[static_cast<size_t>(p)] = at::zeros({n, n});
  }
  const int64_t at_once = std::max<int64_t>(num_threads(), kMicrobatchPositions / std::max<int64_t>(1, inputs.length));
  for (int64_t first = 0; first < inputs.n_sequences; first += at_once) {
    const int64_t count = std::min(at_once, inputs.n_sequences - first);
    std::vector<LayerTaps> taps(static_cast<size_t>(count));
    parallel_for(count, [&](int64_t i) {
      const at::NoGradGuard no_grad;
      LayerTaps& sequence = taps[static_cast<size_t>(i)];
      (void)decoder_layer_forward(config, layer, rope, inputs.states.get(first + i), 0, nullptr, &sequence);
      for (const Proj p : kProjections) {
        const int64_t item = weights.item_of(l, p);
        if (item < 0) continue;
        at::Tensor& x = sequence[static_cast<size_t>(p)].x;
        x = permute_dim(x, 1, weights.layers().items[static_cast<size_t>(item)].order.cols);
        if (root_weight) x = x * root_weight(static_cast<size_t>(item), first + i);
      }
    });
    for (const Proj p : kProjections) add_hessian(hessians[static_cast<size_t>(p)], p, taps);
  }
  return hessians;
}

std::vector<std::vector<float>> column_shares(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                                              const PassOptions& pass, Log& log) {
  const ModelConfig& config = weights.config();
  const auto n = static_cast<int64_t>(sequences.size());
  const int64_t length = longest(sequences);
  const RopeTable rope(config, length);
  ActivationStore states(n, length * config.d_model * 4, pass.activation_bytes, pass.spill_dir);
  parallel_for(n, [&](int64_t s) { states.put(s, weights.dense().embed(sequences[static_cast<size_t>(s)])); });

  std::vector<std::vector<float>> shares(weights.layers().items.size());
  for (int64_t l = 0; l < config.n_layers; ++l) {
    throw_if_stopped();
    const DecoderLayer layer = weights.dense().layer(l);
    LayerHessians hessians = sum_hessians(weights, l, layer, rope, {states, n, length}, {});
    for (const Proj p : kProjections) {
      const int64_t item = weights.item_of(l, p);
      if (item < 0) continue;
      at::Tensor& h = hessians[static_cast<size_t>(p)];
      const at::Tensor diagonal = h.diagonal().clone();
      const Feedback feedback =
          error_feedback(std::move(h), weights.layers().items[static_cast<size_t>(item)].name, log);
      const at::Tensor whole = diagonal + feedback.damping * diagonal.mean();
      std::vector<float>& share = shares[static_cast<size_t>(item)];
      share = feedback.d;
      // A layer whose inputs are all zero has no error to share.
      for (size_t c = 0; c < share.size(); ++c) {
        const float all = whole.data_ptr<float>()[c];
        share[c] = all > 0 ? std::min(share[c] / all, 1.0F) : 1.0F;
      }
    }
    parallel_for(n, [&](int64_t s) {
      const at::NoGradGuard no_grad;
      states.put(s, decoder_layer_forward(config, layer, rope, states.get(s), 0, nullptr, nullptr));
    });
    release_free_heap();
  }
  return shares;
}

}  // namespace scalebits
