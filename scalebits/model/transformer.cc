// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/transformer.h"

#include <functional>
#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/model/experts.h"

namespace scalebits {
namespace {

LinearTap* tap_of(LayerTaps* taps, Slot slot) { return taps == nullptr ? nullptr : &(*taps)[slot]; }

/// [B, T, heads * head_dim] -> [B, heads, T, head_dim]
at::Tensor split_heads(const at::Tensor& x, int64_t heads, int64_t head_dim) {
  return x.view({x.size(0), x.size(1), heads, head_dim}).transpose(1, 2);
}

/// Heads of q or k, normed where the model does. @param norm  [head_dim] or undefined
at::Tensor normed_heads(const ModelConfig& config, const at::Tensor& x, const at::Tensor& norm) {
  const at::Tensor heads = split_heads(x, x.size(2) / config.head_dim, config.head_dim);
  return norm.defined() ? rms_norm(heads, norm, config.norm_eps) : heads;
}

/// What attention is over: heads of queries and keys, not yet in their positions, and of values, [B, heads, T,
/// head_dim] -> heads
using Attend = std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v)>;

at::Tensor attention(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps,
                     const Attend& attend) {
  const auto project = [&](Proj p, const at::Tensor& input) { return layer[p].forward(input, tap_of(taps, p)); };
  const at::Tensor q = normed_heads(config, project(Proj::kQ, x), layer.q_norm);
  const at::Tensor k = normed_heads(config, project(Proj::kK, x), layer.k_norm);
  const at::Tensor v = split_heads(project(Proj::kV, x), config.n_kv_heads, config.head_dim);
  const at::Tensor heads = attend(q, k, v);
  return project(Proj::kO, heads.transpose(1, 2).reshape({x.size(0), x.size(1), config.n_heads * config.head_dim}));
}

/// Positions and the rule of one layer's attention.
struct Placing {
  const RopeTable& rope;
  bool windowed;
  AttentionRule rule;
};

/// Of B texts of equal length, or of what follows a cache.
at::Tensor attend_texts(const Placing& placing, int64_t position, KvCache* cache, const at::Tensor& q_plain,
                        const at::Tensor& k_plain, const at::Tensor& v_new) {
  const at::Tensor q = placing.rope.apply(q_plain, position, placing.windowed);
  at::Tensor k = placing.rope.apply(k_plain, position, placing.windowed), v = v_new;
  if (cache != nullptr) {
    const int64_t t = q.size(2);
    SCALEBITS_CHECK(position + t <= cache->k.size(2));
    cache->k.narrow(2, position, t).copy_(k);
    cache->v.narrow(2, position, t).copy_(v);
    k = cache->k.narrow(2, 0, position + t);
    v = cache->v.narrow(2, 0, position + t);
  }
  return causal_attention(q, k, v, placing.rule);
}

/// Of runs of several texts; q, k and v are [1, heads, rows, head_dim].
at::Tensor attend_runs(const Placing& placing, std::span<const TextRun> runs, const at::Tensor& q_plain,
                       const at::Tensor& k_plain, const at::Tensor& v_rows) {
  const int64_t rows = q_plain.size(2);
  at::Tensor positions = at::empty({rows}, at::kLong);
  for (const TextRun& run : runs) {
    SCALEBITS_CHECK(run.row + run.count <= rows);
    std::iota(positions.data_ptr<int64_t>() + run.row, positions.data_ptr<int64_t>() + run.row + run.count,
              run.position);
  }
  const at::Tensor q_rows = placing.rope.apply(q_plain, positions, placing.windowed);
  const at::Tensor k_rows = placing.rope.apply(k_plain, positions, placing.windowed);
  at::Tensor out = at::empty({1, rows, q_plain.size(1), q_plain.size(3)}, q_plain.options()).transpose(1, 2);
  for (const TextRun& run : runs) {
    const auto of_run = [&](const at::Tensor& t) { return t.narrow(2, run.row, run.count); };
    KvCache all;
    all.k = run.before == nullptr ? of_run(k_rows) : at::cat({run.before->k, of_run(k_rows)}, 2);
    all.v = run.before == nullptr ? of_run(v_rows) : at::cat({run.before->v, of_run(v_rows)}, 2);
    SCALEBITS_CHECK(all.k.size(2) == run.position + run.count);
    of_run(out).copy_(causal_attention(of_run(q_rows), all.k, all.v, placing.rule));
    if (run.kept != nullptr) *run.kept = all;
  }
  return out;
}

at::Tensor mlp(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps) {
  if (layer.router) return mixture(config, layer, x, taps);
  return layer[Proj::kDown].forward(mlp_hidden(config, layer, 0, x, taps), tap_of(taps, Proj::kDown));
}

/// What is added to the residual stream.
at::Tensor output(const ModelConfig& config, const at::Tensor& y, const at::Tensor& post_norm) {
  return post_norm.defined() ? rms_norm(y, post_norm, config.norm_eps) : y;
}

at::Tensor first_half(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps,
                      const Attend& attend) {
  if (taps != nullptr) taps->reserve(layer.linear.size());
  const at::Tensor input = rms_norm(x, layer.attn_norm, config.norm_eps);
  return x + output(config, attention(config, layer, input, taps, attend), layer.attn_post_norm);
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype)
    : k(at::empty({batch, config.n_kv_heads, capacity, config.head_dim}, dtype)), v(at::empty_like(k)) {}

DecoderLayer decoded_once(DecoderLayer layer) {
  for (auto& linear : layer.linear) linear = decoded_once(std::move(linear));
  return layer;
}

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
  const Placing placing{rope, layer.windowed, attention_rule(config, layer.windowed)};
  return first_half(config, layer, x, taps, [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return attend_texts(placing, position, cache, q, k, v);
  });
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

at::Tensor decoder_layer_forward(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                                 const at::Tensor& x, std::span<const TextRun> runs) {
  const Placing placing{rope, layer.windowed, attention_rule(config, layer.windowed)};
  const auto attend = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return attend_runs(placing, runs, q, k, v);
  };
  return mlp_half(config, layer, first_half(config, layer, x, nullptr, attend), nullptr);
}

}  // namespace scalebits
