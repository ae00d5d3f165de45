// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/generate.h"

#include <algorithm>
#include <chrono>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/model/names.h"
#include "scalebits/run/stop_strings.h"

namespace scalebits {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::string_view prompt, Log& log) {
  std::vector<TokenId> ids = tokenizer.encode(prompt);
  if (tokenizer.add_bos() && tokenizer.bos()) {
    if (!ids.empty() && ids.front() == *tokenizer.bos()) {
      log.warn("the prompt begins with the BOS token; no second one is added");
    } else {
      ids.insert(ids.begin(), *tokenizer.bos());
    }
  }
  if (ids.empty())
    fail<InvalidArgument>("prompt", "got 0 tokens, expected at least 1: this model has no BOS token to start from.");
  return ids;
}

void check_lengths(int64_t prompt_tokens, int64_t new_tokens, int64_t context) {
  if (new_tokens < 1) fail<InvalidArgument>("--max-new-tokens", "got {}, expected at least 1.", new_tokens);
  if (new_tokens > context || prompt_tokens > context - new_tokens) {
    fail<InvalidArgument>("prompt",
                          "length: got {} prompt tokens + {} new tokens, expected at most {} together (the "
                          "model's context). Give a shorter prompt or a smaller --max-new-tokens.",
                          prompt_tokens, new_tokens, context);
  }
}

}  // namespace

double Generated::prefill_tps() const {
  return prefill_seconds > 0 ? static_cast<double>(prompt_tokens) / prefill_seconds : 0;
}

double Generated::decode_tps() const {
  return decode_seconds > 0 && new_ids.size() > 1 ? static_cast<double>(new_ids.size() - 1) / decode_seconds : 0;
}

std::unique_ptr<ModelWeights> open_for_generation(const std::filesystem::path& dir) {
  auto model = open_model(dir);
  if (!model->config().quant_method.empty()) return model;
  // What the tensors say, not config.json: f16 or f32 weights must not be rounded because it is wrong.
  const DType stored = model->checkpoint().get(linear_name(model->config(), 0, Proj::kQ) + ".weight").dtype;
  return stored == DType::kBF16 ? open_model(dir, at::kBFloat16) : std::move(model);
}

Generated generate(ModelWeights& weights, const Tokenizer& tokenizer, std::string_view prompt,
                   const GenerateOptions& options, const std::function<void(std::string_view)>& on_text, Log& log) {
  Sampler sampler(options.sampler);
  const StopStrings checked(options.stop);  // before the work
  std::vector<TokenId> ids = encode_prompt(tokenizer, prompt, log);
  const auto prompt_tokens = static_cast<int64_t>(ids.size());
  check_lengths(prompt_tokens, options.max_new_tokens, weights.config().max_context);
  const TextEnd end{.max_new_tokens = options.max_new_tokens,
                    .tokens = end_tokens(weights, tokenizer),
                    .strings = options.stop,
                    .ignore_tokens = options.ignore_eos};
  // The last new token is never read.
  DecodeSession session(weights, prompt_tokens + options.max_new_tokens - 1);

  Generated result;
  result.prompt_tokens = prompt_tokens;
  StreamDecoder decoder(tokenizer);  // one for all tokens: what a token looks like depends on those before it
  for (const TokenId id : ids) result.prompt += decoder.push(id);
  on_text(result.prompt);

  const auto start = Clock::now();
  const std::span<const float> logits = session.push(ids);
  result.prefill_seconds = seconds_since(start);
  Continuation text = continue_text(session, logits, ids, decoder, sampler, end, on_text);
  throw_if_stopped();
  result.completion = std::move(text.text);
  result.new_ids.assign(ids.begin() + prompt_tokens, ids.end());
  result.decode_seconds = text.decode_seconds;
  result.stop_reason = text.stop_reason;
  return result;
}

}  // namespace scalebits
