// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/kv_cache.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/half.h"
#include "scalebits/base/parallel.h"
#include "scalebits/kernels/dispatch.h"

namespace scalebits {
namespace {

/// f16 reaches 65504; what is beyond becomes that, so that a product with a probability of 0 stays 0.
uint16_t stored(float value) { return float_to_f16(std::clamp(value, -65504.0F, 65504.0F)); }

/// Channel i of a rotated head (rotate-half form, as RopeTable::apply).
float rotated(const float* x, int64_t i, int64_t head_dim, const float* cos, const float* sin) {
  const int64_t half = head_dim / 2;
  const float other = i < half ? -x[i + half] : x[i - half];
  return x[i] * cos[i] + other * sin[i];
}

}  // namespace

LayerCache::LayerCache(const ModelConfig& config, int64_t capacity)
    : heads_(config.n_heads),
      kv_heads_(config.n_kv_heads),
      head_dim_(config.head_dim),
      capacity_(round_up(capacity, kKeyTile)),
      k_(static_cast<size_t>(kv_heads_ * capacity_ * head_dim_)),
      v_(k_.size()) {}

void LayerCache::append(const RopeTable& rope, const Projected& x, int64_t token, int64_t n_tokens, int64_t position,
                        std::span<float> queries) {
  const int64_t d = head_dim_, group = heads_ / kv_heads_, key = position + token;
  const float *cos = rope.cos_of(key), *sin = rope.sin_of(key);
  const float scale = 1.0F / std::sqrt(static_cast<float>(d));
  const float* q = x.q.data() + token * heads_ * d;
  for (int64_t h = 0; h < heads_; ++h) {
    // All rows that share a KV head lie side by side, token by token.
    float* to = queries.data() + ((h / group * n_tokens + token) * group + h % group) * d;
    for (int64_t i = 0; i < d; ++i) to[i] = rotated(q + h * d, i, d, cos, sin) * scale;
  }
  for (int64_t g = 0; g < kv_heads_; ++g) {
    const float* k = x.k.data() + (token * kv_heads_ + g) * d;
    const float* v = x.v.data() + (token * kv_heads_ + g) * d;
    uint16_t* to = k_.data() + (g * capacity_ + key / kKeyTile * kKeyTile) * d + key % kKeyTile;
    for (int64_t i = 0; i < d; ++i) to[i * kKeyTile] = stored(rotated(k, i, d, cos, sin));
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
    std::array<int64_t, kMaxQueryRows> n_keys{};
    for (int64_t i = 0; i < n; ++i) n_keys[static_cast<size_t>(i)] = position + (first + i) / group + 1;
    const AttentionRows set{.q = queries.data() + (g * rows + first) * d,
                            .n_keys = n_keys.data(),
                            .k = k_.data() + g * capacity_ * d,
                            .v = v_.data() + g * capacity_ * d,
                            .n_rows = static_cast<int32_t>(n),
                            .head_dim = static_cast<int32_t>(d)};
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
