// SPDX-License-Identifier: Apache-2.0
/// Draws the next token from a row of logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scalebits/base/rng.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits {

struct SamplerOptions {
  double temperature = 0.8;     ///< 0 = always the most probable token; ties go to the lowest id
  int64_t top_k = 40;           ///< keep so many most probable tokens; 0 = all
  double top_p = 0.95;          ///< keep the fewest that together have this probability; 1 = all
  double min_p = 0.05;          ///< drop those below this share of the most probable one; 0 = none
  double repeat_penalty = 1.0;  ///< above 1 makes tokens of the context less likely (CTRL, arXiv 1909.05858, 4.1)
  uint64_t seed = 0;
};

/// A token that may be drawn, and with which probability.
struct Candidate {
  TokenId id = 0;
  double probability = 0.0;
};

/// The filters apply in the order penalty, top-k, top-p, min-p, temperature (llama.cpp's), each to what the one before
/// it left, with probabilities renormalized.
class Sampler {
 public:
  /// @throws InvalidArgument naming the option and its range
  explicit Sampler(const SamplerOptions& options);

  /// @param logits  [vocab_size]; -inf excludes a token
  /// @param context tokens so far, for the penalty
  /// @throws Error at the first NaN or +inf, or when all are -inf
  TokenId sample(std::span<const float> logits, std::span<const TokenId> context);

  /// What sample() draws from: most probable first (equal ones by id), probabilities adding up to 1.
  [[nodiscard]] std::vector<Candidate> candidates(std::span<const float> logits,
                                                  std::span<const TokenId> context) const;

 private:
  SamplerOptions options_;
  Rng rng_;
};

}  // namespace scalebits
