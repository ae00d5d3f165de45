// SPDX-License-Identifier: Apache-2.0
/// The one transformer: a decoder layer driven by the config, used for calibration, evaluation and generation, over
/// linear layers that are dense or packed.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "scalebits/model/attention.h"
#include "scalebits/model/linear.h"
#include "scalebits/model/rope.h"
#include "scalebits/model/slots.h"

namespace scalebits {

/// What one decoder layer needs, loaded for as long as it is used.
struct DecoderLayer {
  at::Tensor attn_norm, mlp_norm;                     ///< [d_model] f32, before attention and MLP
  at::Tensor attn_post_norm, mlp_post_norm;           ///< the same behind them; undefined = none
  at::Tensor q_norm, k_norm;                          ///< [head_dim] f32, of every head; undefined = none
  bool windowed = false;                              ///< ModelConfig::is_windowed
  std::vector<std::shared_ptr<const Linear>> linear;  ///< by Slot::index
  std::shared_ptr<const Linear> router;               ///< [n_experts, d_model] f32; nullptr where the MLP is dense
  [[nodiscard]] const Linear& operator[](Slot slot) const { return *linear[slot.index()]; }
};

/// The layer for products of many tokens: its packed matrices decoded once (decoded_once of linear.h).
DecoderLayer decoded_once(DecoderLayer layer);

/// One tap per linear layer, for one sequence. The layer that fills them makes them. An expert's hold the tokens that
/// it computed, in order; they are undefined where it computed none.
class LayerTaps {
 public:
  /// Every token goes through every expert, and counts for it as if its output were added with the router's
  /// probability. What the layer gives, and the gradients of all but its experts, stay the same.
  bool every_expert = false;
  at::Tensor chosen;  ///< out, of a layer with experts: those of every token, [T, n_active] int64

  /// Makes `n` taps where there are none yet. Linear layers keep their addresses until the backward pass.
  void reserve(size_t n) { taps_.resize(n); }
  [[nodiscard]] LinearTap& operator[](Slot slot) { return taps_[slot.index()]; }
  [[nodiscard]] const LinearTap& operator[](Slot slot) const { return taps_[slot.index()]; }

 private:
  std::vector<LinearTap> taps_;
};

/// Keys and values of one layer. [B, n_kv_heads, capacity, head_dim]
struct KvCache {
  at::Tensor k, v;
  KvCache() = default;
  KvCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype);
};

/// Several texts laid end to end as the rows of one x, without padding. A run of rows may continue a text whose
/// beginning was computed before, so that what texts have in common is computed once.
struct TextRun {
  int64_t row = 0, count = 0;       ///< its rows of x
  int64_t position = 0;             ///< of its first token in its text
  const KvCache* before = nullptr;  ///< keys and values of the `position` tokens before it; nullptr for none
  KvCache* kept = nullptr;          ///< out: keys and values of the whole text so far; nullptr if nobody continues it
};

/// y = x * w / sqrt(mean(x^2) + eps), computed in f32. @param x [..., d]
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// gate [..., d_ff] as the activation of the config lets it through.
at::Tensor activated(const ModelConfig& config, const at::Tensor& gate);

/// What attention does in a layer.
AttentionRule attention_rule(const ModelConfig& config, bool windowed);

/// The first half of a decoder layer, x + post_norm(attention(norm(x))), and the second, x + post_norm(mlp(norm(x))),
/// where there is a post_norm; parameters as below.
at::Tensor attention_half(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                          const at::Tensor& x, int64_t position, KvCache* cache, LayerTaps* taps);
at::Tensor mlp_half(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps);

/// Both halves.
/// @param x        [B, T, d_model], f32 or bf16
/// @param position index of the first token; earlier ones are in `cache`
/// @param cache    read and appended to, or nullptr for a whole sequence at once
/// @param taps     filled by the backward pass, or nullptr
at::Tensor decoder_layer_forward(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                                 const at::Tensor& x, int64_t position, KvCache* cache, LayerTaps* taps);

/// Both halves for many texts at once. Inference only.
/// @param x     [1, rows, d_model]
/// @param runs  together all rows, in their order
at::Tensor decoder_layer_forward(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                                 const at::Tensor& x, std::span<const TextRun> runs);

}  // namespace scalebits
