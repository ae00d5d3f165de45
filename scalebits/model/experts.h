// SPDX-License-Identifier: Apache-2.0
/// Mixtures of experts: which experts a token goes to, and what they give.
#pragma once

#include <span>
#include <vector>

#include "scalebits/model/transformer.h"

namespace scalebits {

/// The experts with the largest router logits, falling; of equals the lower index first.
/// @param logits  [n_experts]; @param chosen  [n_active] out
void choose_experts(std::span<const float> logits, std::span<int32_t> chosen);

/// The weights of the chosen experts: their softmax probabilities among all, divided by their sum where the config says
/// so. @param weights  [n_active] out
void weigh_experts(const ExpertConfig& config, std::span<const float> logits, std::span<const int32_t> chosen,
                   std::span<float> weights);

/// Where the tokens of a sequence go.
struct Routing {
  at::Tensor chosen;         ///< [T, n_active] int64, as choose_experts
  at::Tensor weights;        ///< [T, n_active] f32, differentiable where the input is
  at::Tensor probabilities;  ///< [T, n_experts] f32
};
/// @param h  [T, d_model], behind the MLP's norm
Routing route(const ExpertConfig& config, const DecoderLayer& layer, const at::Tensor& h);

/// Tokens that go to `expert`, rising, [n] int64. @param chosen  [T, n_active]
at::Tensor tokens_of(const at::Tensor& chosen, int64_t expert);

/// What the down matrix of an expert (or of a dense MLP: expert 0) gets: activation(gate x) * (up x).
/// @param x  [.., d_model]; @param taps  as in decoder_layer_forward
at::Tensor mlp_hidden(const ModelConfig& config, const DecoderLayer& layer, int64_t expert, const at::Tensor& x,
                      LayerTaps* taps);

/// The weighted sum of the experts of every token. An expert computes its tokens together, and they are added expert by
/// expert. @param x  [B, T, d_model], behind the MLP's norm; @return likewise
at::Tensor mixture(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps);

}  // namespace scalebits
