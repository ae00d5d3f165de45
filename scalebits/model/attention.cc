// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "scalebits/base/errors.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kQueryChunk = 512;
/// Scores of all heads that are formed at once: they stay in a core's second-level cache (1 MB), and short texts are
/// spared an operation of libtorch for every head.
constexpr int64_t kFewScores = int64_t{1} << 18;

double scale_of(const AttentionRule& rule, const at::Tensor& q) {
  return rule.scale > 0 ? rule.scale : 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
}

/// A run of queries of one head, and the keys that one of them at least sees.
struct Chunk {
  int64_t b, head, kv_head, first, n;
  int64_t first_key, keys;

  [[nodiscard]] at::Tensor queries(const at::Tensor& q) const { return q[b][head].narrow(0, first, n); }
  [[nodiscard]] at::Tensor of_keys(const at::Tensor& k) const { return k[b][kv_head].narrow(0, first_key, keys); }
};

at::Tensor scores(const at::Tensor& q, const at::Tensor& k, const AttentionRule& rule) {
  at::Tensor x = matmul_nt(q, k).mul_(scale_of(rule, q));
  return rule.cap > 0 ? x.div_(rule.cap).tanh_().mul_(rule.cap) : x;
}

/// Attention probabilities of a chunk from its scores [..., n, keys], which are overwritten. The last query sees the
/// last key.
at::Tensor probabilities(at::Tensor scores, const AttentionRule& rule) {
  const int64_t n = scores.size(-2), keys = scores.size(-1);
  const auto hide = [&](const at::Tensor& hidden) {
    scores.masked_fill_(hidden, -std::numeric_limits<float>::infinity());
  };
  if (n > 1) hide(at::ones({n, keys}, at::kBool).triu_(keys - n + 1));
  if (rule.window > 0 && keys > rule.window) hide(at::ones({n, keys}, at::kBool).tril_(keys - n - rule.window));
  return at::softmax(scores, -1, at::kFloat).to(scores.scalar_type());
}

/// Calls body(chunk) for every piece of work, in a fixed order.
template <class Body>
void for_each_chunk(const at::Tensor& q, const at::Tensor& k, const AttentionRule& rule, Body body) {
  const int64_t heads = q.size(1), t = q.size(2), s = k.size(2), group = heads / k.size(1);
  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t first = 0; first < t; first += kQueryChunk) {
        const int64_t n = std::min(kQueryChunk, t - first), end = s - t + first + n;
        const int64_t first_key = rule.window > 0 ? std::max<int64_t>(0, end - n + 1 - rule.window) : 0;
        body(Chunk{b, h, h / group, first, n, first_key, end - first_key});
      }
    }
  }
}

/// Few queries per sequence: all heads in two batched products, the query heads of a group as the rows of one matrix.
at::Tensor attend_few(const at::Tensor& q, const at::Tensor& all_k, const at::Tensor& all_v,
                      const AttentionRule& rule) {
  const int64_t batch = q.size(0), heads = q.size(1), t = q.size(2), head_dim = q.size(3);
  const int64_t kv_heads = all_k.size(1), group = heads / kv_heads, before = all_k.size(2) - t;
  const int64_t keys = t + (rule.window > 0 ? std::min(rule.window - 1, before) : before);  // that any of them sees
  const at::Tensor k = all_k.narrow(2, all_k.size(2) - keys, keys), v = all_v.narrow(2, all_k.size(2) - keys, keys);
  const at::Tensor grouped = q.reshape({batch, kv_heads, group * t, head_dim});
  at::Tensor x = batched_matmul(grouped, k, /*transpose_b=*/true).mul_(scale_of(rule, q));
  if (rule.cap > 0) x.div_(rule.cap).tanh_().mul_(rule.cap);
  const at::Tensor p = probabilities(x.view({batch, kv_heads, group, t, keys}), rule);
  const at::Tensor of_group = p.view({batch, kv_heads, group * t, keys});
  return batched_matmul(of_group, v, /*transpose_b=*/false).reshape({batch, heads, t, head_dim});
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionRule& rule) {
  if (q.size(0) * q.size(1) * q.size(2) * k.size(2) <= kFewScores || q.size(2) == 1) return attend_few(q, k, v, rule);
  at::Tensor out = at::empty_like(q, at::MemoryFormat::Contiguous);
  for_each_chunk(q, k, rule, [&](const Chunk& c) {
    const at::Tensor p = probabilities(scores(c.queries(q), c.of_keys(k).contiguous(), rule), rule);
    c.queries(out).copy_(matmul_nn(p, c.of_keys(v).contiguous()));
  });
  return out;
}

struct CausalAttention : public torch::autograd::Function<CausalAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            double scale, double cap, int64_t window) {
    at::Tensor out = attend(q, k, v, {scale, cap, window});
    ctx->save_for_backward({q, k, v, out});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["cap"] = cap;
    ctx->saved_data["window"] = window;
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &dout = grads[0];
    const AttentionRule rule{ctx->saved_data["scale"].toDouble(), ctx->saved_data["cap"].toDouble(),
                             ctx->saved_data["window"].toInt()};
    at::Tensor dq = at::zeros_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    for_each_chunk(q, k, rule, [&](const Chunk& c) {
      const at::Tensor qc = c.queries(q).contiguous(), kc = c.of_keys(k).contiguous();
      const at::Tensor vc = c.of_keys(v).contiguous(), doc = c.queries(dout).contiguous();
      const at::Tensor x = scores(qc, kc, rule);
      // d cap * tanh(u / cap) = 1 - (its value / cap)^2, before masking makes values infinite.
      const at::Tensor slope = rule.cap > 0 ? (x / rule.cap).square_().neg_().add_(1.0) : at::Tensor();
      const at::Tensor p = probabilities(x, rule);
      c.of_keys(dv).add_(matmul_tn(p, doc));
      // d softmax: p * (dp - sum(dp * p)), and sum(dp * p) over keys = sum(dout * out) over channels.
      const at::Tensor row = (doc * c.queries(out)).sum(-1, /*keepdim=*/true);
      at::Tensor ds = (matmul_nt(doc, vc) - row).mul_(p).mul_(scale_of(rule, q));
      if (slope.defined()) ds.mul_(slope);
      c.queries(dq).copy_(matmul_nn(ds, kc));
      c.of_keys(dk).add_(matmul_tn(ds, qc));
    });
    return {dq, dk, dv, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionRule& rule) {
  SCALEBITS_CHECK(q.dim() == 4 && k.dim() == 4 && q.size(1) % k.size(1) == 0 && q.size(2) <= k.size(2));
  if (at::GradMode::is_enabled() && q.requires_grad()) {
    return CausalAttention::apply(q, k, v, rule.scale, rule.cap, rule.window);
  }
  return attend(q, k, v, rule);
}

}  // namespace scalebits
