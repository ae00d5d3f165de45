// SPDX-License-Identifier: Apache-2.0
/// From a context and a continuation to token ids, as the harness does it for Hugging Face models.
#pragma once

#include <string>
#include <string_view>

#include "scalebits/eval/likelihood.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits {

/// What a context becomes: BOS first where the tokenizer's policy says so and the text does not begin with it.
Sequence encode_context(const Tokenizer& tokenizer, std::string_view text);

/// Both are tokenized together, and the continuation is what is left behind the context's own tokens; white space at
/// the context's end belongs to the continuation. An empty context is the BOS (or else EOS) token. What is longer than
/// the model's context loses tokens at its beginning.
///
/// @param where  names the item in messages
/// @throws InvalidArgument when the continuation has no token of its own, or more than the model's context
/// Source: lm_eval/api/model.py, TemplateLM.loglikelihood and _encode_pair; lm_eval/models/huggingface.py,
/// _loglikelihood_tokens.
LikelihoodRequest encode_pair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                              int64_t max_context, const std::string& where);

}  // namespace scalebits
