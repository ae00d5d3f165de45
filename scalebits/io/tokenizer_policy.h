// SPDX-License-Identifier: Apache-2.0
/// Which tokens begin and end a text, from the files around tokenizer.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "scalebits/io/component.h"

namespace scalebits {

/// What tokenizer_config.json (or, without it, special_tokens_map.json) says. Nothing where it says nothing.
struct TokenizerPolicy {
  std::optional<std::string> bos, eos;
  std::optional<bool> add_bos;
  std::vector<std::string> special;  ///< all tokens with a role: these two, unk_token, additional_special_tokens, ...
};
/// @throws IoError, FormatError
TokenizerPolicy read_tokenizer_policy(const std::filesystem::path& model_dir);

/// The special token that a post_processor puts before a single text, if any.
/// @throws FormatError; Unsupported: several tokens, or a post-processor we do not have
std::optional<std::string> first_special_token(const Component& post_processor);

}  // namespace scalebits
