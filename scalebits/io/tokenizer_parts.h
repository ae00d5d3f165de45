// SPDX-License-Identifier: Apache-2.0
/// A tokenizer taken apart, and the files that it can be put together from.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "scalebits/io/added_tokens.h"
#include "scalebits/io/component.h"
#include "scalebits/io/normalizer.h"
#include "scalebits/io/pre_tokenizer.h"
#include "scalebits/io/token_decoder.h"
#include "scalebits/io/token_model.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits {

struct TokenizerParts {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::unique_ptr<const TokenModel> model;
  AddedTokens added;
  TokenDecoder decoder;
  std::optional<TokenId> bos, eos;
  bool add_bos = false;

  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const;
};

/// tokenizer.json of `dir`, with tokenizer_config.json or special_tokens_map.json for BOS and EOS where they are there.
/// `truncation` and `padding` of the file are settings of the program that saved it and are not read.
/// @throws IoError, FormatError (names the key), Unsupported (names the component we do not have)
TokenizerParts read_tokenizer_json(const std::filesystem::path& dir);

/// vocab.json and merges.txt of `dir`, for the tokenizer classes GPT2Tokenizer and Qwen2Tokenizer.
/// @throws IoError, FormatError, Unsupported (names the class)
TokenizerParts read_vocabulary_files(const std::filesystem::path& dir);

/// tokenizer.model of `dir`, for the tokenizer classes LlamaTokenizer, CodeLlamaTokenizer and GemmaTokenizer.
/// @throws IoError, FormatError, Unsupported (names the class or the option)
TokenizerParts read_sentencepiece(const std::filesystem::path& dir);

/// What a tokenizer's class takes where tokenizer_config.json is silent.
struct ClassDefaults {
  std::string_view bos, eos;  ///< empty: none
  bool add_bos = false;
  bool cut_raw = false;  ///< added tokens are cut out of the text as it stands, whatever `normalized` says
};
/// Adds the tokens that tokenizer_config.json (`config`, which may be empty) or added_tokens.json have beside
/// `parts.model`, and finds BOS and EOS. @throws FormatError
void read_added_tokens(const std::filesystem::path& dir, const Component& config, const ClassDefaults& defaults,
                       TokenizerParts& parts);

/// The vocabulary of a GGUF file, as llama.cpp reads it: `tokenizer.ggml.model` gpt2 or llama.
/// @throws IoError, FormatError (names the key), Unsupported (names the kind or the pre-tokenizer)
TokenizerParts read_gguf_vocabulary(const std::filesystem::path& file);

}  // namespace scalebits
