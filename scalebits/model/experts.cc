// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/experts.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

LinearTap* tap_of(LayerTaps* taps, Slot slot) { return taps == nullptr ? nullptr : &(*taps)[slot]; }

at::Tensor expert_output(const ModelConfig& config, const DecoderLayer& layer, int64_t expert, const at::Tensor& x,
                         LayerTaps* taps) {
  const Slot down{Proj::kDown, expert};
  return layer[down].forward(mlp_hidden(config, layer, expert, x, taps), tap_of(taps, down));
}

/// The weights of the tokens that go to `expert`, in the order of tokens_of, [n, 1].
at::Tensor weights_of(const Routing& routing, const at::Tensor& tokens, int64_t expert) {
  const at::Tensor mine = routing.chosen.index_select(0, tokens) == expert;
  return (routing.weights.index_select(0, tokens) * mine).sum(1, /*keepdim=*/true);
}

/// What an expert adds when every token goes through it. A token that is not routed to it adds nothing, but takes its
/// gradient as if it were added with its probability; neither router nor input learn of that.
at::Tensor every_token(const ModelConfig& config, const DecoderLayer& layer, const Routing& routing, int64_t expert,
                       const at::Tensor& h, LayerTaps* taps) {
  const at::Tensor routed = (routing.chosen == expert).any(1, /*keepdim=*/true);
  const at::Tensor y = expert_output(config, layer, expert, at::where(routed, h, h.detach()), taps);
  const at::Tensor weight = (routing.weights * (routing.chosen == expert)).sum(1, /*keepdim=*/true);
  const at::Tensor as_if = y * routing.probabilities.detach().select(1, expert).unsqueeze(1);
  return at::where(routed, y * weight, as_if - as_if.detach());
}

}  // namespace

void choose_experts(std::span<const float> logits, std::span<int32_t> chosen) {
  size_t n = 0;  // so far, sorted
  for (size_t e = 0; e < logits.size(); ++e) {
    if (n == chosen.size() && !(logits[e] > logits[static_cast<size_t>(chosen[n - 1])])) continue;
    size_t place = n < chosen.size() ? n++ : n - 1;
    for (; place > 0 && logits[e] > logits[static_cast<size_t>(chosen[place - 1])]; --place) {
      chosen[place] = chosen[place - 1];
    }
    chosen[place] = static_cast<int32_t>(e);
  }
}

void weigh_experts(const ExpertConfig& config, std::span<const float> logits, std::span<const int32_t> chosen,
                   std::span<float> weights) {
  const float top = logits[static_cast<size_t>(chosen[0])];
  float total = 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    weights[i] = std::exp(logits[static_cast<size_t>(chosen[i])] - top);
    total += weights[i];
  }
  if (!config.normalize) {
    total = 0;
    for (const float logit : logits) total += std::exp(logit - top);
  }
  for (float& w : weights) w /= total;
}

Routing route(const ExpertConfig& config, const DecoderLayer& layer, const at::Tensor& h) {
  Routing routing;
  const at::Tensor logits = layer.router->forward(h.to(at::kFloat), nullptr);
  const at::Tensor values = logits.detach().contiguous();
  const int64_t n = values.size(0), experts = values.size(1);
  routing.chosen = at::empty({n, config.n_active}, at::kLong);
  std::vector<int32_t> chosen(static_cast<size_t>(config.n_active));
  for (int64_t t = 0; t < n; ++t) {
    const std::span<const float> row(values.data_ptr<float>() + t * experts, static_cast<size_t>(experts));
    // A comparison with NaN would choose at random, and nothing behind it would tell.
    if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) {
      fail<Error>("router", "logits of token {}: got NaN or Inf, expected finite numbers. Are the weights sound?", t);
    }
    choose_experts(row, chosen);
    std::copy(chosen.begin(), chosen.end(), routing.chosen.data_ptr<int64_t>() + t * config.n_active);
  }
  routing.probabilities = at::softmax(logits, -1);
  routing.weights = routing.probabilities.gather(1, routing.chosen);
  if (config.normalize) routing.weights = routing.weights / routing.weights.sum(-1, /*keepdim=*/true);
  return routing;
}

at::Tensor tokens_of(const at::Tensor& chosen, int64_t expert) {
  return at::nonzero((chosen == expert).any(1)).squeeze(1);
}

at::Tensor mlp_hidden(const ModelConfig& config, const DecoderLayer& layer, int64_t expert, const at::Tensor& x,
                      LayerTaps* taps) {
  const Slot gate{Proj::kGate, expert}, up{Proj::kUp, expert};
  const at::Tensor let_through = activated(config, layer[gate].forward(x, tap_of(taps, gate)));
  return let_through * layer[up].forward(x, tap_of(taps, up));
}

at::Tensor mixture(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps) {
  const at::Tensor h = x.reshape({-1, x.size(-1)});
  const Routing routing = route(config.experts, layer, h);
  if (taps != nullptr) taps->chosen = routing.chosen;
  at::Tensor out = at::zeros_like(h);
  for (int64_t e = 0; e < config.experts.n_experts; ++e) {
    if (taps != nullptr && taps->every_expert) {
      out = out + every_token(config, layer, routing, e, h, taps).to(h.scalar_type());
      continue;
    }
    const at::Tensor tokens = tokens_of(routing.chosen, e);
    if (tokens.numel() == 0) continue;
    const at::Tensor y = expert_output(config, layer, e, h.index_select(0, tokens), taps);
    out = out.index_add(0, tokens, (y * weights_of(routing, tokens, e)).to(h.scalar_type()));
  }
  return out.reshape(x.sizes());
}

}  // namespace scalebits
