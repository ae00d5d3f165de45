// SPDX-License-Identifier: Apache-2.0
/// Causal grouped-query attention whose memory is one head's scores, forward and backward.
#pragma once

#include "scalebits/model/torch.h"

namespace scalebits {

/// softmax(q k^T / sqrt(head_dim) + causal mask) v, query head h reading KV head h / (n_heads / n_kv_heads).
///
/// @param q [B, n_heads, T, head_dim]; position of query t is S - T + t
/// @param k [B, n_kv_heads, S, head_dim]; @param v likewise
/// @return  [B, n_heads, T, head_dim]
///
/// Differentiable. Probabilities are recomputed in the backward pass head by head and 512 queries at a time (the idea
/// of FlashAttention, arXiv 2205.14135, section 3.1), so no [n_heads, T, S] buffer exists in either direction.
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace scalebits
