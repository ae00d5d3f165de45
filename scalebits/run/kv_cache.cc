// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/kv_cache.h"

#include <algorithm>
#include <array>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/half.h"
#include "scalebits/base/parallel.h"
#include "scalebits/kernels/dispatch.h"
#include "scalebits/kernels/int8_activations.h"

namespace scalebits {
namespace {

/// f16 reaches 65504; what is beyond becomes that, so that a product with a probability of 0 stays 0.
uint16_t stored(float value) { return float_to_f16(std::clamp(value, -65504.0F, 65504.0F)); }

/// Channel i of a rotated head (rotate-half form, as RopeTable::apply), of which the first `turned` channels turn.
float rotated(const float* x, int64_t i, int64_t turned, const float* cos, const float* sin) {
  if (i >= turned) return x[i];
  const int64_t half = turned / 2;
  const float other = i < half ? -x[i + half] : x[i - half];
  return x[i] * cos[i] + other * sin[i];
}

/// A head after its norm; itself where there is none. @param buffer  [head_dim]
const float* normed(const float* x, const at::Tensor& norm, float eps, std::vector<float>& buffer) {
  if (!norm.defined()) return x;
  const auto n = static_cast<size_t>(norm.numel());
  buffer.resize(n);
  apply_norm({x, n}, {.weight = {norm.data_ptr<float>(), n}, .eps = eps}, buffer);
  return buffer.data();
}

}  // namespace

LayerCache::LayerCache(const ModelConfig& config, const DecoderLayer& layer, int64_t capacity)
    : heads_(config.n_heads),
      kv_heads_(config.n_kv_heads),
      head_dim_(config.head_dim),
      capacity_(round_up(capacity, kKeyTile)),
      windowed_(layer.windowed),
      rule_(attention_rule(config, layer.windowed)),
      q_norm_(layer.q_norm),
      k_norm_(layer.k_norm),
      eps_(static_cast<float>(config.norm_eps)),
      k_(static_cast<size_t>(kv_heads_ * capacity_ * head_dim_)),
      v_(k_.size()) {}

void LayerCache::append(const RopeTable& rope, const Projected& x, int64_t token, int64_t n_tokens, int64_t position,
                        std::span<float> queries) {
  const int64_t d = head_dim_, group = heads_ / kv_heads_, key = position + token;
  const RopeTable::Angles& angles = rope.of(windowed_);
  const float *cos = angles.cos_of(key), *sin = angles.sin_of(key);
  const int64_t turned = angles.cos.size(1);
  const auto scale = static_cast<float>(rule_.scale);
  thread_local std::vector<float> head;
  for (int64_t h = 0; h < heads_; ++h) {
    const float* q = normed(x.q.data() + (token * heads_ + h) * d, q_norm_, eps_, head);
    // All rows that share a KV head lie side by side, token by token.
    float* to = queries.data() + ((h / group * n_tokens + token) * group + h % group) * d;
    for (int64_t i = 0; i < d; ++i) to[i] = rotated(q, i, turned, cos, sin) * scale;
  }
  for (int64_t g = 0; g < kv_heads_; ++g) {
    const float* k = normed(x.k.data() + (token * kv_heads_ + g) * d, k_norm_, eps_, head);
    const float* v = x.v.data() + (token * kv_heads_ + g) * d;
    uint16_t* to = k_.data() + (g * capacity_ + key / kKeyTile * kKeyTile) * d + key % kKeyTile;
    for (int64_t i = 0; i < d; ++i) to[i * kKeyTile] = stored(rotated(k, i, turned, cos, sin));
    std::transform(v, v + d, v_.data() + (g * capacity_ + key) * d, stored);
  }
}

void LayerCache::attend(const RopeTable& rope, const Projected& x, int64_t n_tokens, int64_t position,
                        std::span<float> queries, std::span<float> out) {
  SCALEBITS_CHECK(position + n_tokens <= capacity_ && position + n_tokens <= rope.positions());
  const int64_t d = head_dim_, group = heads_ / kv_heads_, rows = n_tokens * group;
  if (n_tokens == 1) {
    append(rope, x, 0, 1, position, queries);
  } else {
    parallel_for(n_tokens, [&](int64_t t) { append(rope, x, t, n_tokens, position, queries); });
  }
  const KernelTable& kernels = active_kernels();
  const int64_t sets = ceil_div(rows, kMaxQueryRows);
  parallel_for(kv_heads_ * sets, [&](int64_t task) {
    const int64_t g = task / sets, first = task % sets * kMaxQueryRows;
    const int64_t n = std::min<int64_t>(kMaxQueryRows, rows - first);
    std::array<int64_t, kMaxQueryRows> first_key{}, n_keys{};
    for (int64_t i = 0; i < n; ++i) {
      const auto row = static_cast<size_t>(i);
      n_keys[row] = position + (first + i) / group + 1;
      first_key[row] = rule_.window > 0 ? std::max<int64_t>(0, n_keys[row] - rule_.window) : 0;
    }
    const AttentionRows set{.q = queries.data() + (g * rows + first) * d,
                            .first_key = first_key.data(),
                            .n_keys = n_keys.data(),
                            .k = k_.data() + g * capacity_ * d,
                            .v = v_.data() + g * capacity_ * d,
                            .n_rows = static_cast<int32_t>(n),
                            .head_dim = static_cast<int32_t>(d),
                            .cap = static_cast<float>(rule_.cap)};
    thread_local std::vector<float> sums;
    sums.resize(static_cast<size_t>(kMaxQueryRows * d));
    kernels.attend(set, sums.data());
    for (int64_t i = 0; i < n; ++i) {
      const int64_t token = (first + i) / group, head = g * group + (first + i) % group;
      std::copy_n(sums.data() + i * d, d, out.data() + (token * heads_ + head) * d);
    }
  });
}

}  // namespace scalebits
