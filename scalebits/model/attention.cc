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

/// Keys that a chunk of queries [first, first + n) of T may see, for S keys in all.
int64_t visible_keys(int64_t first, int64_t n, int64_t t, int64_t s) { return s - t + first + n; }

/// Attention probabilities [n, keys] of one head's query chunk.
at::Tensor probabilities(const at::Tensor& q, const at::Tensor& k, double scale) {
  const int64_t n = q.size(0), keys = k.size(0);
  at::Tensor scores = matmul_nt(q, k).mul_(scale);
  if (n > 1) {
    const at::Tensor hidden = at::ones({n, keys}, at::kBool).triu_(keys - n + 1);
    scores.masked_fill_(hidden, -std::numeric_limits<float>::infinity());
  }
  return at::softmax(scores, -1, at::kFloat).to(q.scalar_type());
}

/// Calls body(b, query head, KV head, first query, queries, visible keys) for every piece of work, in a fixed order.
template <class Body>
void for_each_chunk(const at::Tensor& q, const at::Tensor& k, Body body) {
  const int64_t heads = q.size(1), t = q.size(2), s = k.size(2), group = heads / k.size(1);
  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t first = 0; first < t; first += kQueryChunk) {
        const int64_t n = std::min(kQueryChunk, t - first);
        body(b, h, h / group, first, n, visible_keys(first, n, t, s));
      }
    }
  }
}

/// One query per sequence: all heads in two batched products, the query heads of a group as the rows of one matrix.
at::Tensor attend_last(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const int64_t batch = q.size(0), heads = q.size(1), kv_heads = k.size(1), head_dim = q.size(3);
  const at::Tensor grouped = q.reshape({batch, kv_heads, heads / kv_heads, head_dim});
  const at::Tensor scores = batched_matmul(grouped, k, /*transpose_b=*/true).mul_(scale);
  const at::Tensor p = at::softmax(scores, -1, at::kFloat).to(q.scalar_type());
  return batched_matmul(p, v, /*transpose_b=*/false).reshape({batch, heads, 1, head_dim});
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  if (q.size(2) == 1) return attend_last(q, k, v, scale);
  at::Tensor out = at::empty_like(q, at::MemoryFormat::Contiguous);
  for_each_chunk(q, k, [&](int64_t b, int64_t h, int64_t g, int64_t first, int64_t n, int64_t keys) {
    const at::Tensor p = probabilities(q[b][h].narrow(0, first, n), k[b][g].narrow(0, 0, keys).contiguous(), scale);
    out[b][h].narrow(0, first, n).copy_(matmul_nn(p, v[b][g].narrow(0, 0, keys).contiguous()));
  });
  return out;
}

struct CausalAttention : public torch::autograd::Function<CausalAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    at::Tensor out = attend(q, k, v);
    ctx->save_for_backward({q, k, v, out});
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &dout = grads[0];
    const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
    at::Tensor dq = at::zeros_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    for_each_chunk(q, k, [&](int64_t b, int64_t h, int64_t g, int64_t first, int64_t n, int64_t keys) {
      const at::Tensor qc = q[b][h].narrow(0, first, n).contiguous(), kc = k[b][g].narrow(0, 0, keys).contiguous();
      const at::Tensor vc = v[b][g].narrow(0, 0, keys).contiguous();
      const at::Tensor doc = dout[b][h].narrow(0, first, n).contiguous();
      const at::Tensor p = probabilities(qc, kc, scale);
      dv[b][g].narrow(0, 0, keys).add_(matmul_tn(p, doc));
      // d softmax: p * (dp - sum(dp * p)), and sum(dp * p) over keys = sum(dout * out) over channels.
      const at::Tensor row = (doc * out[b][h].narrow(0, first, n)).sum(-1, /*keepdim=*/true);
      const at::Tensor ds = (matmul_nt(doc, vc) - row).mul_(p).mul_(scale);
      dq[b][h].narrow(0, first, n).copy_(matmul_nn(ds, kc));
      dk[b][g].narrow(0, 0, keys).add_(matmul_tn(ds, qc));
    });
    return {dq, dk, dv};
  }
};

}  // namespace

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  SCALEBITS_CHECK(q.dim() == 4 && k.dim() == 4 && q.size(1) % k.size(1) == 0 && q.size(2) <= k.size(2));
  if (at::GradMode::is_enabled() && q.requires_grad()) return CausalAttention::apply(q, k, v);
  return attend(q, k, v);
}

}  // namespace scalebits
