// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/transformer.h"

#include "scalebits/base/errors.h"
#include "scalebits/model/experts.h"

namespace scalebits {
namespace {

LinearTap* tap_of(LayerTaps* taps, Slot slot) { return taps == nullptr ? nullptr : &(*taps)[slot]; }

/// [B, T, heads * head_dim] -> [B, heads, T, head_dim]
at::Tensor split_heads(const at::Tensor& x, int64_t heads, int64_t head_dim) {
  return x.view({x.size(0), x.size(1), heads, head_dim}).transpose(1, 2);
}

/// Heads of q or k, normed where the model does, in their positions. @param norm  [head_dim] or undefined
at::Tensor placed_heads(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                        const at::Tensor& x, const at::Tensor& norm, int64_t position) {
  const at::Tensor heads = split_heads(x, x.size(2) / config.head_dim, config.head_dim);
  return rope.apply(norm.defined() ? rms_norm(heads, norm, config.norm_eps) : heads, position, layer.windowed);
}

at::Tensor attention(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope, const at::Tensor& x,
                     int64_t position, KvCache* cache, LayerTaps* taps) {
  const auto project = [&](Proj p, const at::Tensor& input) { return layer[p].forward(input, tap_of(taps, p)); };
  const at::Tensor q = placed_heads(config, layer, rope, project(Proj::kQ, x), layer.q_norm, position);
  at::Tensor k = placed_heads(config, layer, rope, project(Proj::kK, x), layer.k_norm, position);
  at::Tensor v = split_heads(project(Proj::kV, x), config.n_kv_heads, config.head_dim);
  if (cache != nullptr) {
    const int64_t t = x.size(1);
    SCALEBITS_CHECK(position + t <= cache->k.size(2));
    cache->k.narrow(2, position, t).copy_(k);
    cache->v.narrow(2, position, t).copy_(v);
    k = cache->k.narrow(2, 0, position + t);
    v = cache->v.narrow(2, 0, position + t);
  }
  const at::Tensor heads = causal_attention(q, k, v, attention_rule(config, layer.windowed));
  return project(Proj::kO, heads.transpose(1, 2).reshape({x.size(0), x.size(1), config.n_heads * config.head_dim}));
}

at::Tensor mlp(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps) {
  if (layer.router) return mixture(config, layer, x, taps);
  return layer[Proj::kDown].forward(mlp_hidden(config, layer, 0, x, taps), tap_of(taps, Proj::kDown));
}

/// What is added to the residual stream.
at::Tensor output(const ModelConfig& config, const at::Tensor& y, const at::Tensor& post_norm) {
  return post_norm.defined() ? rms_norm(y, post_norm, config.norm_eps) : y;
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype)
    : k(at::empty({batch, config.n_kv_heads, capacity, config.head_dim}, dtype)), v(at::empty_like(k)) {}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor xf = x.to(at::kFloat);
  const at::Tensor inverse = (xf.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();
  return (xf * inverse * weight).to(x.scalar_type());
}

at::Tensor activated(const ModelConfig& config, const at::Tensor& gate) {
  return config.activation == Activation::kSilu ? at::silu(gate) : at::gelu(gate, "tanh");
}

AttentionRule attention_rule(const ModelConfig& config, bool windowed) {
  return {config.score_scale(), config.attention_cap, windowed ? config.window : 0};
}

at::Tensor attention_half(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                          const at::Tensor& x, int64_t position, KvCache* cache, LayerTaps* taps) {
  if (taps != nullptr) taps->reserve(layer.linear.size());
  const at::Tensor input = rms_norm(x, layer.attn_norm, config.norm_eps);
  return x + output(config, attention(config, layer, rope, input, position, cache, taps), layer.attn_post_norm);
}

at::Tensor mlp_half(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps) {
  if (taps != nullptr) taps->reserve(layer.linear.size());
  const at::Tensor input = rms_norm(x, layer.mlp_norm, config.norm_eps);
  return x + output(config, mlp(config, layer, input, taps), layer.mlp_post_norm);
}

at::Tensor decoder_layer_forward(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                                 const at::Tensor& x, int64_t position, KvCache* cache, LayerTaps* taps) {
  return mlp_half(config, layer, attention_half(config, layer, rope, x, position, cache, taps), taps);
}

}  // namespace scalebits
