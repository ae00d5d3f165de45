// SPDX-License-Identifier: Apache-2.0
/// The loop that draws token after token, for one text (generate.h) and for answers (chat.h).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "scalebits/io/tokenizer.h"
#include "scalebits/run/decode_session.h"
#include "scalebits/run/sampler.h"

namespace scalebits {

enum class StopReason { kLength, kEos, kStopString, kInterrupted };
std::string_view stop_reason_name(StopReason reason);  ///< "length", "eos", "stop", "interrupted"

/// What ends a text.
struct TextEnd {
  int64_t max_new_tokens = 128;
  std::unordered_set<TokenId> tokens;
  std::vector<std::string> strings;  ///< the text ends before the first of these
  bool ignore_tokens = false;        ///< `tokens` are never drawn
};

/// The tokens that a model ends with: `eos_token_id` of config.json and generation_config.json, and the tokenizer's
/// eos_token. @throws FormatError
std::unordered_set<TokenId> end_tokens(const ModelWeights& weights, const Tokenizer& tokenizer);

struct Continuation {
  std::string text;  ///< of the new tokens, without end token and stop string
  int64_t new_tokens = 0;
  StopReason stop_reason = StopReason::kLength;
  double decode_seconds = 0;  ///< for all new tokens but the first
};

/// Draws tokens and has the session read them, but for the last. A request to stop ends the text (kInterrupted).
/// @param logits  behind the last of `ids`, from the session
/// @param ids     what the session has read; the new tokens are appended, an end token included
/// @param decoder of the text so far
/// @param on_text receives the text as it becomes certain
Continuation continue_text(DecodeSession& session, std::span<const float> logits, std::vector<TokenId>& ids,
                           StreamDecoder& decoder, Sampler& sampler, const TextEnd& end,
                           const std::function<void(std::string_view)>& on_text);

}  // namespace scalebits
