// SPDX-License-Identifier: Apache-2.0
/// One text in the making: a model, the keys and values of all tokens so far, and the next token's logits.
#pragma once

#include <span>
#include <vector>

#include "scalebits/model/weights.h"

namespace scalebits {

class DecodeSession {
 public:
  /// Loads all layers and keeps them in `weights`. @param capacity most tokens that will be pushed
  /// @throws InvalidArgument when the capacity exceeds the model's context
  DecodeSession(ModelWeights& weights, int64_t capacity);

  /// Reads more tokens. @return logits of the token behind the last one, [vocab_size]; valid until the next call
  std::span<const float> push(std::span<const TokenId> ids);
  [[nodiscard]] int64_t position() const { return position_; }

 private:
  const ModelWeights& weights_;
  std::vector<DecoderLayer> layers_;
  RopeTable rope_;
  std::vector<KvCache> caches_;
  int64_t capacity_ = 0, position_ = 0;
  at::Tensor logits_;
};

}  // namespace scalebits
