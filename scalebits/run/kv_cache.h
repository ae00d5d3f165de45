// SPDX-License-Identifier: Apache-2.0
/// Keys and values of one layer in f16, and attention over them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scalebits/io/hf_config.h"
#include "scalebits/model/transformer.h"

namespace scalebits {

/// The queries, keys and values that a layer computes for a few tokens, [n_tokens, heads * head_dim] f32 each.
struct Projected {
  std::span<const float> q, k, v;
};

class LayerCache {
 public:
  /// @param layer  whose attention it is; its norms of heads are kept
  LayerCache(const ModelConfig& config, const DecoderLayer& layer, int64_t capacity);

  /// Norms and rotates q and k, appends k and v, and attends: token i sees the keys 0..position + i, or the last of
  /// them that are in the window.
  /// @param position  of the first token; position + n_tokens <= capacity
  /// @param queries   scratch, [n_tokens, n_heads * head_dim]
  /// @param out       [n_tokens, n_heads * head_dim]
  void attend(const RopeTable& rope, const Projected& x, int64_t n_tokens, int64_t position, std::span<float> queries,
              std::span<float> out);

 private:
  void append(const RopeTable& rope, const Projected& x, int64_t token, int64_t n_tokens, int64_t position,
              std::span<float> queries);

  int64_t heads_, kv_heads_, head_dim_, capacity_;
  bool windowed_;
  AttentionRule rule_;
  at::Tensor q_norm_, k_norm_;
  float eps_;
  std::vector<uint16_t> k_;  ///< [kv_heads][capacity / kKeyTile][head_dim][kKeyTile]
  std::vector<uint16_t> v_;  ///< [kv_heads][capacity][head_dim]
};

}  // namespace scalebits
