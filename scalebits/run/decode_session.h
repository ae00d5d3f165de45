// SPDX-License-Identifier: Apache-2.0
/// One text in the making: a model, the keys and values of all tokens so far, and the next token's logits.
///
/// This is model/transformer.h's decoder layer over raw buffers: norms, gathers and rounding of activations in one
/// pass, keys and values in f16; where all layers and the head are packed or bf16, no tensor is made for a token.
/// Prompts go through it in chunks.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "scalebits/model/weights.h"
#include "scalebits/run/kv_cache.h"
#include "scalebits/run/mixture_step.h"
#include "scalebits/run/products.h"

namespace scalebits {

struct DecodeOptions {
  int64_t chunk = 512;  ///< tokens of a prompt that are computed together
  Activations activations = Activations::kInt8;
};

class DecodeSession {
 public:
  /// Loads all layers and keeps them in `weights`. @param capacity most tokens that will be pushed
  /// @throws InvalidArgument when the capacity exceeds the model's context
  DecodeSession(ModelWeights& weights, int64_t capacity, const DecodeOptions& options = {});

  /// Reads more tokens. @return logits of the token behind the last one, [vocab_size]; valid until the next call
  /// @throws Interrupted between chunks
  std::span<const float> push(std::span<const TokenId> ids);
  [[nodiscard]] int64_t position() const { return position_; }
  /// Forgets all tokens behind the first `position`.
  void rewind(int64_t position);

 private:
  void read_chunk(std::span<const TokenId> ids);
  void run_layer(size_t index, int64_t n_tokens);
  /// hidden_ += y, behind a norm where `post_norm` is defined
  void add_to_hidden(std::span<const float> y, const at::Tensor& post_norm);

  const ModelWeights& weights_;
  const ModelConfig& config_;
  DecodeOptions options_;
  std::vector<DecoderLayer> layers_;
  std::shared_ptr<const Linear> head_;
  RopeTable rope_;
  std::vector<LayerCache> caches_;
  int64_t capacity_ = 0, position_ = 0;
  LayerInput input_;
  MixtureStep mixture_;
  std::vector<float> hidden_, q_, k_, v_, queries_, heads_, gate_, up_, out_, logits_;
};

}  // namespace scalebits
