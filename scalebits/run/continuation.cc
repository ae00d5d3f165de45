// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/continuation.h"

#include <chrono>
#include <limits>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/io/generation_config.h"
#include "scalebits/run/stop_strings.h"

namespace scalebits {
namespace {

using Clock = std::chrono::steady_clock;

/// False when a stop was requested; the session has then not read the token.
bool read_token(DecodeSession& session, TokenId id, std::span<const float>& logits) {
  try {
    logits = session.push({&id, 1});
    return true;
  } catch (const Interrupted&) {
    return false;
  }
}

}  // namespace

std::string_view stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kLength:
      return "length";
    case StopReason::kEos:
      return "eos";
    case StopReason::kStopString:
      return "stop";
    case StopReason::kInterrupted:
      return "interrupted";
  }
  check_failed(__FILE__, __LINE__, "known reason");
}

std::unordered_set<TokenId> end_tokens(const ModelWeights& weights, const Tokenizer& tokenizer) {
  std::unordered_set<TokenId> ends;
  for (const int64_t id : weights.config().eos_token_ids) ends.insert(static_cast<TokenId>(id));
  for (const int64_t id : read_generation_eos(weights.checkpoint().dir())) ends.insert(static_cast<TokenId>(id));
  if (tokenizer.eos()) ends.insert(*tokenizer.eos());
  return ends;
}

Continuation continue_text(DecodeSession& session, std::span<const float> logits, std::vector<TokenId>& ids,
                           StreamDecoder& decoder, Sampler& sampler, const TextEnd& end,
                           const std::function<void(std::string_view)>& on_text) {
  StopStrings stop(end.strings);
  Continuation result;
  const auto emit = [&](const std::string& text) {
    if (text.empty()) return;
    result.text += text;
    on_text(text);
  };
  std::vector<float> allowed;
  const auto draw = [&] {
    if (!end.ignore_tokens) return sampler.sample(logits, ids);
    allowed.assign(logits.begin(), logits.end());
    for (const TokenId id : end.tokens) {
      if (id >= 0 && static_cast<size_t>(id) < allowed.size()) {
        allowed[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
      }
    }
    return sampler.sample(allowed, ids);
  };

  auto start = Clock::now();
  while (result.new_tokens < end.max_new_tokens) {
    if (stop_requested() || (result.new_tokens > 0 && !read_token(session, ids.back(), logits))) {
      result.stop_reason = StopReason::kInterrupted;
      break;
    }
    const TokenId next = draw();
    if (++result.new_tokens == 1) start = Clock::now();
    result.decode_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    ids.push_back(next);
    if (end.tokens.contains(next)) {
      result.stop_reason = StopReason::kEos;
      break;
    }
    emit(stop.push(decoder.push(next)));
    if (stop.found()) {
      result.stop_reason = StopReason::kStopString;
      break;
    }
  }
  if (!stop.found()) {
    emit(stop.push(decoder.finish()));
    if (stop.found()) result.stop_reason = StopReason::kStopString;
  }
  emit(stop.finish());
  return result;
}

}  // namespace scalebits
