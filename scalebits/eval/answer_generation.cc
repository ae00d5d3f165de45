// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/answer_generation.h"

#include <algorithm>
#include <unordered_set>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/eval/encode_pairs.h"
#include "scalebits/eval/text_forest.h"
#include "scalebits/run/decode_session.h"
#include "scalebits/run/stop_strings.h"

namespace scalebits {
namespace {

std::unordered_set<TokenId> end_tokens(const ModelConfig& config, const Tokenizer& tokenizer) {
  std::unordered_set<TokenId> ends;
  for (const int64_t id : config.eos_token_ids) ends.insert(static_cast<TokenId>(id));
  if (tokenizer.eos()) ends.insert(*tokenizer.eos());
  return ends;
}

std::vector<Sequence> encode_prompts(const Tokenizer& tokenizer, const std::vector<std::string>& prompts,
                                     int64_t most_tokens) {
  std::vector<Sequence> encoded;
  for (const std::string& prompt : prompts) {
    Sequence ids = encode_context(tokenizer, prompt);
    if (ids.empty()) fail<InvalidArgument>("prompt", "got 0 tokens, expected at least 1.");
    const int64_t excess = static_cast<int64_t>(ids.size()) - most_tokens;
    if (excess > 0) ids.erase(ids.begin(), ids.begin() + excess);
    encoded.push_back(std::move(ids));
  }
  return encoded;
}

TokenId most_probable(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Reads what of `prompt` the session does not have yet; at least the last token, whose logits are wanted.
std::span<const float> read_prompt(DecodeSession& session, const Sequence& prompt, const Sequence& held,
                                   AnswerTally& tally) {
  const int64_t shared = std::min(common_beginning(held, prompt), static_cast<int64_t>(prompt.size()) - 1);
  session.rewind(shared);
  tally.prompt_tokens += static_cast<int64_t>(prompt.size());
  tally.computed_prompt_tokens += static_cast<int64_t>(prompt.size()) - shared;
  return session.push(std::span(prompt).subspan(static_cast<size_t>(shared)));
}

}  // namespace

std::vector<std::string> generate_answers(ModelWeights& weights, const Tokenizer& tokenizer,
                                          const std::vector<std::string>& prompts, const AnswerOptions& options,
                                          Log& log, AnswerTally* tally) {
  const ModelConfig& config = weights.config();
  const int64_t room = config.max_context - options.max_new_tokens;
  if (options.max_new_tokens < 1 || room < 1) {
    fail<InvalidArgument>("--max-new-tokens", "got {}, expected 1..{}: the prompt needs room in the model's context.",
                          options.max_new_tokens, config.max_context - 1);
  }
  const std::vector<Sequence> encoded = encode_prompts(tokenizer, prompts, room);
  const std::unordered_set<TokenId> ends = end_tokens(config, tokenizer);
  DecodeSession session(weights, longest(encoded) + options.max_new_tokens, {.activations = options.activations});
  AnswerTally counted;
  std::vector<std::string> answers;
  Sequence held;  // what the session has read
  for (const Sequence& prompt : encoded) {
    log.progress("answers", static_cast<int64_t>(answers.size()), static_cast<int64_t>(encoded.size()));
    std::span<const float> logits = read_prompt(session, prompt, held, counted);
    held = prompt;
    StopStrings stop(options.stop);
    StreamDecoder decoder(tokenizer);
    std::string answer;
    for (int64_t i = 0; i < options.max_new_tokens && !stop.found(); ++i) {
      throw_if_stopped();
      const TokenId next = most_probable(logits);
      ++counted.new_tokens;
      if (ends.contains(next)) break;
      answer += stop.push(decoder.push(next));
      if (i + 1 == options.max_new_tokens || stop.found()) break;
      held.push_back(next);
      logits = session.push(std::span(&next, 1));
    }
    answer += stop.push(decoder.finish());
    answer += stop.finish();
    answers.push_back(std::move(answer));
  }
  log.progress("answers", static_cast<int64_t>(answers.size()), static_cast<int64_t>(encoded.size()));
  if (tally != nullptr) *tally = counted;
  return answers;
}

}  // namespace scalebits
