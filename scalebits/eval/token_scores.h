// SPDX-License-Identifier: Apache-2.0
/// What one row of logits says about one token: negative log-likelihood, and divergence from a reference model.
#pragma once

#include <span>

#include "scalebits/model/torch.h"

namespace scalebits {

/// Nats; exponentials are f32, sums and logarithms f64.
struct TokenDivergence {
  double kl = 0.0;        ///< KL(reference || model) of the next-token distributions
  double nll_ref = 0.0;   ///< -log p_reference(target)
  double nll = 0.0;       ///< -log p_model(target)
  bool same_top = false;  ///< both put the same token first (ties: the lowest id)
};

/// out[i] = -log softmax(logits[i])[targets[i]], in nats.
/// @param logits  [n, vocab] f32; @param targets [n], each in 0..vocab-1
void token_nll(const at::Tensor& logits, std::span<const int32_t> targets, std::span<double> out);

/// What one row of logits says about one token.
struct RowTarget {
  int64_t row = 0;
  int32_t id = 0;
};
struct TokenScore {
  double nll = 0.0;  ///< nats
  bool top = false;  ///< it is the most probable token (ties: the lowest id)
};
/// @param logits  [n, vocab] f32
void score_targets(const at::Tensor& logits, std::span<const RowTarget> targets, std::span<TokenScore> out);

/// @param ref, model  logits [n, vocab] f32 of the reference and of the model under test
void token_divergence(const at::Tensor& ref, const at::Tensor& model, std::span<const int32_t> targets,
                      std::span<TokenDivergence> out);

/// Rows of logits to form at once: about 16 MB, so that they never exist for a whole window of a large vocabulary.
int64_t logit_rows_at_once(int64_t vocab_size);

}  // namespace scalebits
