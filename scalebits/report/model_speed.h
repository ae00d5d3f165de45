// SPDX-License-Identifier: Apache-2.0
/// How fast a model reads prompts and writes tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/run/decode_session.h"

namespace scalebits {

/// Tokens per second over the repetitions.
struct TokenSpeed {
  int64_t tokens = 0;
  double tps = 0, p10 = 0, p90 = 0;  ///< median, 10th and 90th percentile
};

struct ModelSpeedOptions {
  std::vector<int64_t> pp = {512};  ///< prompt lengths; each from an empty context
  std::vector<int64_t> tg = {128};  ///< single tokens, one after the other, from an empty context
  int repetitions = 5;
  DecodeOptions decode;
};

struct ModelSpeed {
  std::vector<TokenSpeed> pp, tg;
  int64_t bytes_per_token = 0;     ///< of weights that a token's linear layers and head read: of its experts alone
  int64_t weight_bytes = 0;        ///< of all of these: what must be in memory
  double first_token_seconds = 0;  ///< from opening the session until the logits of one token are there
};

/// Token ids are random, and nothing is sampled, so only the model is measured. One run of each is not counted.
/// @throws InvalidArgument for lengths below 1 or beyond the model's context
ModelSpeed measure_model(ModelWeights& weights, const ModelSpeedOptions& options, Log& log);

}  // namespace scalebits
