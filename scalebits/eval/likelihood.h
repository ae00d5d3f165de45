// SPDX-License-Identifier: Apache-2.0
/// Log-likelihoods of continuations given contexts, for many at once: what evaluations by choice are made of.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/calibrate/forward.h"

namespace scalebits {

/// The model reads all ids but the last; the last `predicted` of them are the continuation.
struct LikelihoodRequest {
  Sequence ids;
  int64_t predicted = 0;  ///< 1 .. ids.size() - 1
};

struct Likelihood {
  double log_likelihood = 0.0;  ///< of the continuation, nats (at most 0)
  bool greedy = false;          ///< every token of it is the model's most probable one (ties: the lowest id)
};

struct LikelihoodTally {
  int64_t tokens = 0;           ///< that the model computed, shared beginnings once
  int64_t tokens_unshared = 0;  ///< that it would have read with each request on its own
};

/// Requests are sorted, so that those with a common beginning are neighbours; what they share is computed once (per
/// batch). Nothing is padded: the rest of all requests is laid end to end. A batch runs through the model layer by
/// layer.
/// @param batch_tokens  tokens that are computed together; bounds memory, does not change results beyond rounding
/// @throws Error naming the request whose result is not finite; Interrupted between layers
std::vector<Likelihood> measure_likelihoods(const ModelWeights& weights, std::span<const LikelihoodRequest> requests,
                                            int64_t batch_tokens, Log& log, LikelihoodTally* tally = nullptr);

inline constexpr int64_t kDefaultBatchTokens = 16384;

}  // namespace scalebits
