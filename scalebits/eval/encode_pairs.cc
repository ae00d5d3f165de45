// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/encode_pairs.h"

#include "scalebits/base/errors.h"
#include "scalebits/eval/python_text.h"

namespace scalebits {
namespace {

/// The token that stands for an empty context.
TokenId prefix_token(const Tokenizer& tokenizer, const std::string& where) {
  if (tokenizer.bos()) return *tokenizer.bos();
  if (tokenizer.eos()) return *tokenizer.eos();
  fail<InvalidArgument>(where, "context: got an empty one, expected text: this model has neither BOS nor EOS.");
}

}  // namespace

Sequence encode_context(const Tokenizer& tokenizer, std::string_view text) {
  Sequence ids = tokenizer.encode(text);
  const auto bos = tokenizer.bos();
  if (tokenizer.add_bos() && bos && !text.starts_with(tokenizer.id_to_token(*bos))) ids.insert(ids.begin(), *bos);
  return ids;
}

LikelihoodRequest encode_pair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                              int64_t max_context, const std::string& where) {
  LikelihoodRequest request;
  if (context.empty()) {
    const TokenId prefix = prefix_token(tokenizer, where);
    request.ids = tokenizer.encode(continuation);
    request.predicted = static_cast<int64_t>(request.ids.size());
    if (!request.ids.empty() && request.ids.front() == prefix) {
      --request.predicted;
    } else {
      request.ids.insert(request.ids.begin(), prefix);
    }
  } else {
    const std::string_view kept = python_rstrip(context);
    request.ids = encode_context(tokenizer, std::string(context) + std::string(continuation));
    request.predicted =
        static_cast<int64_t>(request.ids.size()) - static_cast<int64_t>(encode_context(tokenizer, kept).size());
  }
  if (request.predicted < 1 || request.predicted >= static_cast<int64_t>(request.ids.size())) {
    fail<InvalidArgument>(where,
                          "continuation: got {} tokens of its own behind {} of the context, expected at least 1.",
                          request.predicted, static_cast<int64_t>(request.ids.size()) - request.predicted);
  }
  if (request.predicted > max_context) {
    fail<InvalidArgument>(where, "continuation: got {} tokens, expected at most {} (the model's context).",
                          request.predicted, max_context);
  }
  const auto n = static_cast<int64_t>(request.ids.size());
  if (n > max_context + 1) request.ids.erase(request.ids.begin(), request.ids.begin() + (n - max_context - 1));
  return request;
}

}  // namespace scalebits
