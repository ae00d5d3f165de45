// SPDX-License-Identifier: Apache-2.0
/// Causal grouped-query attention whose memory is one head's scores, forward and backward.
#pragma once

#include "scalebits/model/torch.h"

namespace scalebits {

/// What becomes of a score, and which are looked at.
struct AttentionRule {
  double scale = 0;    ///< score = scale * q . k; 0 = 1 / sqrt(head_dim)
  double cap = 0;      ///< then cap * tanh(score / cap); 0 = no cap
  int64_t window = 0;  ///< keys that a query sees, its own the last of them; 0 = all before it
};

/// softmax(scores + causal mask) v, query head h reading KV head h / (n_heads / n_kv_heads).
///
/// @param q [B, n_heads, T, head_dim]; position of query t is S - T + t
/// @param k [B, n_kv_heads, S, head_dim]; @param v likewise
/// @return  [B, n_heads, T, head_dim]
///
/// Differentiable. Probabilities are recomputed in the backward pass head by head and 512 queries at a time (the idea
/// of FlashAttention, arXiv 2205.14135, section 3.1), so no [n_heads, T, S] buffer exists in either direction.
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const AttentionRule& rule = {});

}  // namespace scalebits
