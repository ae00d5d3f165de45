// SPDX-License-Identifier: Apache-2.0
/// A whole model run on one sequence from the pieces of model/: what calibrate/, eval/ and run/ do in their own ways.
#pragma once

#include <cmath>
#include <map>

#include "scalebits/model/gemm.h"
#include "scalebits/model/weights.h"

namespace scalebits::test {

using Ids = std::vector<TokenId>;

/// Output of the last layer, [1, T, d_model]. @param taps one per layer, or nullptr
inline at::Tensor last_layer_output(const ModelWeights& weights, const at::Tensor& embedded,
                                    std::vector<LayerTaps>* taps = nullptr) {
  const RopeTable rope(weights.config(), embedded.size(1));
  at::Tensor x = embedded;
  for (int64_t l = 0; l < weights.config().n_layers; ++l) {
    LayerTaps* layer_taps = taps == nullptr ? nullptr : &(*taps)[static_cast<size_t>(l)];
    x = decoder_layer_forward(weights.config(), weights.layer(l), rope, x, 0, nullptr, layer_taps);
  }
  return x;
}

/// [T, d_model] f32
inline at::Tensor hidden_of(const ModelWeights& weights, const Ids& ids) {
  const at::NoGradGuard no_grad;
  return weights.final_hidden(last_layer_output(weights, weights.embed(ids))).squeeze(0);
}

/// [T, vocab_size] f32
inline at::Tensor logits_of(const ModelWeights& weights, const Ids& ids) {
  const at::NoGradGuard no_grad;
  return weights.logits(hidden_of(weights, ids));
}

/// -log p(ids[t + 1]) of every position but the last, [T - 1] f64
inline at::Tensor token_nll(const at::Tensor& logits, const Ids& ids) {
  const auto n = static_cast<int64_t>(ids.size()) - 1;
  at::Tensor targets = at::empty({n, 1}, at::kLong);
  for (int64_t t = 0; t < n; ++t) targets.data_ptr<int64_t>()[t] = ids[static_cast<size_t>(t) + 1];
  return -at::log_softmax(logits.narrow(0, 0, n).to(at::kDouble), -1).gather(1, targets).squeeze(1);
}

/// Gradient of the mean next-token loss over all sequences with respect to every linear weight, dy^T x from the taps.
inline std::map<std::string, at::Tensor> weight_gradients(const ModelWeights& weights, const std::vector<Ids>& rows) {
  std::map<std::string, at::Tensor> gradients;
  const double positions = static_cast<double>(rows.size() * (rows[0].size() - 1));
  for (const Ids& ids : rows) {
    std::vector<LayerTaps> taps(static_cast<size_t>(weights.config().n_layers));
    const at::Tensor embedded = weights.embed(ids).requires_grad_(true);
    const at::Tensor hidden = weights.final_hidden(last_layer_output(weights, embedded, &taps));
    const at::Tensor leaf = hidden.detach().squeeze(0).requires_grad_(true);
    at::Tensor logits = at::matmul(leaf, weights.head().t());
    if (const double cap = weights.config().logit_cap; cap > 0) logits = at::tanh(logits / cap) * cap;
    (token_nll(logits, ids).sum() / positions).backward();
    hidden.backward(leaf.grad().unsqueeze(0));
    for (int64_t l = 0; l < weights.config().n_layers; ++l) {
      for (const Slot slot : slots(weights.config(), l)) {
        const LinearTap& tap = taps[static_cast<size_t>(l)][slot];
        if (!tap.dy.defined()) continue;  // an expert that none of these tokens goes to
        at::Tensor g = at::empty({tap.dy.size(1), tap.x.size(1)}, at::kFloat);
        matmul_tn(tap.dy, 0, g.size(0), tap.x, g.data_ptr<float>());
        at::Tensor& sum = gradients[linear_name(weights.config(), l, slot)];
        sum = sum.defined() ? sum + g : g;
      }
    }
  }
  return gradients;
}

}  // namespace scalebits::test
