// SPDX-License-Identifier: Apache-2.0
/// Text <-> token ids, from the files of a Hugging Face checkpoint or from a GGUF file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

using TokenId = int32_t;

/// A tokenizer: byte-level BPE with a Split regex (GPT-2, Llama-3, Qwen), or BPE with byte fallback and metaspace
/// normalizers (Llama-2, Phi-3). Immutable after loading; encode and decode may be called from several threads.
class Tokenizer {
 public:
  /// @param path a directory with a tokenizer.json or, without that, with vocab.json and merges.txt or a
  ///             tokenizer.model (BOS and EOS are those of tokenizer_config.json); or a GGUF file
  /// @throws IoError, FormatError (names the key), Unsupported (names the component we do not have)
  explicit Tokenizer(const std::filesystem::path& path);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// @param special  whether the text of special tokens inside `text` is taken as these tokens
  /// No BOS is added: see add_bos().
  /// @throws FormatError when `text` is not UTF-8 (names the byte offset)
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool special = true) const;
  /// Bytes of the tokens together, as the reference decoder gives them; special tokens are left out on request, ids
  /// without a token give nothing. The result is UTF-8: bytes that are not become U+FFFD.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special = true) const;

  [[nodiscard]] int64_t vocab_size() const;  ///< highest id + 1, added tokens included
  [[nodiscard]] std::optional<TokenId> bos() const;
  [[nodiscard]] std::optional<TokenId> eos() const;
  [[nodiscard]] bool add_bos() const;  ///< whether the reference tokenizer puts BOS first
  [[nodiscard]] std::optional<TokenId> token_to_id(std::string_view token) const;
  [[nodiscard]] std::string_view id_to_token(TokenId id) const;  ///< as written in the file; empty when unknown
  [[nodiscard]] bool is_special(TokenId id) const;

 private:
  friend class StreamDecoder;
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

/// What Tokenizer(path) takes tokens from: of `path` the first that is there of tokenizer.json, vocab.json and
/// merges.txt; `path` itself when it is a GGUF file; nothing when there is no tokenizer.
std::vector<std::filesystem::path> tokenizer_files(const std::filesystem::path& path);

/// Decodes token by token and never gives out part of a UTF-8 character. What push() and finish() give, put together,
/// is decode() of all tokens. Byte-fallback tokens (<0x0A>) wait for the token behind them: whether a run of them is
/// text is known only at its end.
class StreamDecoder {
 public:
  /// `tokenizer` must outlive this.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  /// Text that became complete with this token (may be empty).
  std::string push(TokenId id);
  /// What is left at the end; incomplete bytes become U+FFFD. Then the decoder may be used for another text.
  std::string finish();

 private:
  struct State;
  const Tokenizer::Impl* tokenizer_;
  bool skip_special_;
  std::unique_ptr<State> state_;
};

}  // namespace scalebits
