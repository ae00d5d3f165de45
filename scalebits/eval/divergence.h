// SPDX-License-Identifier: Apache-2.0
/// How far a model's next-token distributions are from those of a reference model.
#pragma once

#include <span>

#include "scalebits/eval/perplexity.h"
#include "scalebits/eval/token_scores.h"

namespace scalebits {

struct Divergence {
  double mean = 0.0;            ///< KL(reference || model), nats per predicted token
  double standard_error = 0.0;  ///< of the mean, tokens taken as independent
  double p90 = 0.0, p99 = 0.0, p999 = 0.0, max = 0.0;
  double same_top = 0.0;  ///< share of tokens for which both models put the same token first
  /// Of delta p = p_model(token) - p_reference(token) over the text's own tokens, as llama.cpp's tools/perplexity.
  double mean_delta_p = 0.0, rms_delta_p = 0.0;
  double rms_delta_p_standard_error = 0.0;  ///< that of the mean square, carried through the root
  Perplexity model, reference;
};

/// @throws Error at the first score that is not finite
Divergence divergence_of(std::span<const TokenDivergence> tokens);

/// Value below which a share `q` in 0..1 of the sorted numbers lies, neighbours interpolated linearly (numpy's
/// default).
/// @param sorted at least one
double percentile(std::span<const double> sorted, double q);

/// The two models read the same tokens: equal vocabulary sizes and byte-equal tokenizer.json.
/// @throws InvalidArgument with both values; IoError
void check_comparable(const ModelWeights& model, const ModelWeights& reference);

/// Both models over the same windows. Memory: hidden states of one group of windows and logits of a few hundred tokens.
Divergence measure_divergence(const ModelWeights& model, const ModelWeights& reference, const WindowSet& set, Log& log);

}  // namespace scalebits
