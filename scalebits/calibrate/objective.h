// SPDX-License-Identifier: Apache-2.0
/// The end-to-end loss of a sequence and its gradient, from final hidden states.
#pragma once

#include <span>
#include <string_view>

#include "scalebits/model/weights.h"

namespace scalebits {

enum class LossKind {
  kKl,       ///< KL divergence from the reference model's next-token distribution, every position
  kCe,       ///< cross-entropy of the next token, every position but the last
  kSampled,  ///< cross-entropy of a token drawn from the model's own distribution: its squared gradient is the Fisher
             ///< information (Martens 2020, section 5)
};

/// @throws InvalidArgument listing "kl" and "ce"
LossKind parse_loss(std::string_view name);

/// One sequence's sums; divide by `positions` over all sequences for the mean.
struct SequenceLoss {
  double nats = 0.0;
  int64_t positions = 0;
};

/// Loss of one sequence, summed over its positions.
///
/// @param weights   gives the head, and the reference's
/// @param hidden    [T, d_model] f32, final hidden states of the model under test
/// @param reference [T, d_model] f32, of the full-precision model (kKl)
/// @param ids       [T]
/// @param dhidden   out, [T, d_model]: gradient of the summed loss, or nullptr
/// @param sample_seed  kSampled: stream of the drawn tokens
/// Positions are taken a few hundred at a time, so that logits never exist for the whole sequence.
SequenceLoss sequence_loss(LossKind kind, const ModelWeights& weights, const at::Tensor& hidden,
                           const at::Tensor& reference, std::span<const TokenId> ids, at::Tensor* dhidden,
                           uint64_t sample_seed = 0);

/// sum over rows of KL(softmax(ref) || softmax(q)) in nats. @param ref, q [n, vocab] f32
/// @param dq out: softmax(q) - softmax(ref), or nullptr
double kl_divergence(const at::Tensor& ref, const at::Tensor& q, at::Tensor* dq);

}  // namespace scalebits
