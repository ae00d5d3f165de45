// SPDX-License-Identifier: Apache-2.0
/// Continues a prompt token by token.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/model/weights.h"
#include "scalebits/run/continuation.h"
#include "scalebits/run/sampler.h"

namespace scalebits {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplerOptions sampler;
  std::vector<std::string> stop;  ///< ends the text before the first of these
  bool ignore_eos = false;        ///< the end-of-text tokens are never drawn
};

struct Generated {
  std::string prompt;      ///< as the tokens of the prompt read
  std::string completion;  ///< text of the new tokens, without end-of-text tokens and stop string
  std::vector<TokenId> new_ids;
  int64_t prompt_tokens = 0;
  double prefill_seconds = 0.0;  ///< until the first new token is known
  double decode_seconds = 0.0;   ///< for all others
  StopReason stop_reason = StopReason::kLength;

  [[nodiscard]] double prefill_tps() const;  ///< prompt tokens per second
  [[nodiscard]] double decode_tps() const;   ///< new tokens but the first per second; 0 when there is no other
};

/// A model as it is run: packed weights, or dense ones in the dtype they are stored in if that is bf16, where they lie
/// in the mapped file, else f32. @throws what open_model throws
std::unique_ptr<ModelWeights> open_for_generation(const std::filesystem::path& dir);

/// @param prompt   UTF-8; special tokens written in it are taken as such. BOS is put before it where the tokenizer's
///                 policy says so and the prompt does not begin with it.
/// @param on_text  receives the text as it becomes certain: first the prompt, then pieces of the completion
/// @throws InvalidArgument: prompt tokens + new tokens exceed the context (gives the numbers), an empty prompt where
///         there is no BOS, an unusable option; FormatError for a prompt that is not UTF-8; Interrupted between tokens
Generated generate(ModelWeights& weights, const Tokenizer& tokenizer, std::string_view prompt,
                   const GenerateOptions& options, const std::function<void(std::string_view)>& on_text, Log& log);

}  // namespace scalebits
