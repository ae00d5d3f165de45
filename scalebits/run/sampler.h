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

  /// What sample() draws from: most probable first (equal ones by id), probabilities adding up to 1. Valid until the
  /// next call. Nothing is allocated but by the first call for a vocabulary.
  std::span<const Candidate> candidates(std::span<const float> logits, std::span<const TokenId> context);

 private:
  struct Scored {
    TokenId id = 0;
    float logit = 0.0F;
  };
  void score(std::span<const float> logits, std::span<const TokenId> context);
  void mark(std::span<const TokenId> context, bool seen);
  std::span<const double> probabilities(double temperature);

  SamplerOptions options_;
  Rng rng_;
  std::vector<Scored> scored_;  ///< tokens that are not excluded, the penalty applied
  std::vector<double> probabilities_;
  std::vector<Candidate> candidates_;
  std::vector<bool> seen_;  ///< by id; all false between calls
};

}  // namespace scalebits
