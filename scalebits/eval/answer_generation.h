// SPDX-License-Identifier: Apache-2.0
/// Greedy answers to prompts, as the harness asks Hugging Face models for them.
#pragma once

#include <string>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/model/weights.h"

namespace scalebits {

struct AnswerOptions {
  int64_t max_new_tokens = 256;
  std::vector<std::string> stop;  ///< the answer ends before the first of these, and at an end-of-text token
  Activations activations = Activations::kFloat;
};

struct AnswerTally {
  int64_t prompt_tokens = 0, computed_prompt_tokens = 0, new_tokens = 0;
};

/// One answer for each prompt, without special tokens. A prompt that leaves no room for `max_new_tokens` loses tokens
/// at its beginning. What a prompt shares with the one before it is not computed again.
/// @throws InvalidArgument when max_new_tokens leaves no room for a prompt; Interrupted between tokens
std::vector<std::string> generate_answers(ModelWeights& weights, const Tokenizer& tokenizer,
                                          const std::vector<std::string>& prompts, const AnswerOptions& options,
                                          Log& log, AnswerTally* tally = nullptr);

}  // namespace scalebits
