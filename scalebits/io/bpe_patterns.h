// SPDX-License-Identifier: Apache-2.0
/// The pre-tokenizers of byte-level BPE that files refer to by name only (GGUF, vocab.json with merges.txt).
#pragma once

#include <optional>
#include <string_view>

#include "scalebits/io/json.h"

namespace scalebits {

enum class BpePattern { kGpt2, kDigits, kLlama3, kQwen2, kQwen35, kFalcon, kDeepseek3, kTekken, kGpt4o, kDefault };

/// The pattern as the `pre_tokenizer` of a tokenizer.json.
/// @param prefix_space whether a space is put before pieces that have none
Json bpe_pre_tokenizer(BpePattern pattern, bool prefix_space = false);

/// What llama.cpp does for a `tokenizer.ggml.pre`.
struct GgufPreTokenizer {
  BpePattern pattern;
  bool ignore_merges = false, add_bos = false;
};
/// Nothing for a name that we do not have.
std::optional<GgufPreTokenizer> find_gguf_pre_tokenizer(std::string_view name);

}  // namespace scalebits
