// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/decode_session.h"

#include "scalebits/base/errors.h"

namespace scalebits {

DecodeSession::DecodeSession(ModelWeights& weights, int64_t capacity) : weights_(weights), capacity_(capacity) {
  const ModelConfig& config = weights.config();
  if (capacity > config.max_context) {
    fail<InvalidArgument>("context", "got {} tokens, expected at most {} (max_position_embeddings of the model).",
                          capacity, config.max_context);
  }
  rope_ = RopeTable(config, capacity);
  weights.keep_layers();
  for (int64_t l = 0; l < config.n_layers; ++l) {
    layers_.push_back(weights.layer(l));
    caches_.emplace_back(config, 1, capacity, weights.dtype());
  }
}

std::span<const float> DecodeSession::push(std::span<const TokenId> ids) {
  const auto n = static_cast<int64_t>(ids.size());
  SCALEBITS_CHECK(n > 0 && position_ + n <= capacity_);
  const at::NoGradGuard no_grad;
  at::Tensor x = weights_.embed(ids);
  for (size_t l = 0; l < layers_.size(); ++l) {
    x = decoder_layer_forward(weights_.config(), layers_[l], rope_, x, position_, &caches_[l], nullptr);
  }
  position_ += n;
  logits_ = weights_.logits(weights_.final_hidden(x.select(1, n - 1))).contiguous();
  return {logits_.data_ptr<float>(), static_cast<size_t>(logits_.numel())};
}

}  // namespace scalebits
