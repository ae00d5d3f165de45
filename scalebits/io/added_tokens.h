// SPDX-License-Identifier: Apache-2.0
/// Tokens that are found in the text as they stand, before anything is merged (`added_tokens`).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "scalebits/io/component.h"
#include "scalebits/io/normalizer.h"
#include "scalebits/io/vocabulary.h"

namespace scalebits {

/// Finds, from left to right, the longest of a set of strings that starts earliest.
class TokenTrie {
 public:
  struct Found {
    size_t begin, end;
    TokenId id;
  };
  void add(std::string_view text, TokenId id);
  /// The first match at or behind `from`.
  [[nodiscard]] std::optional<Found> find(std::string_view text, size_t from) const;

 private:
  std::unordered_map<uint64_t, uint32_t> edges_;  // node * 256 + byte -> node; node 0 is the root
  std::vector<TokenId> ends_ = {-1};              // by node: the token that ends here, or -1
  std::vector<bool> starts_ = std::vector<bool>(256);
};

class AddedTokens {
 public:
  struct Token {
    std::string content;
    std::string written;  ///< as the decoder sees it: normalized where the token is
    bool special = false, single_word = false, lstrip = false, rstrip = false, normalized = false;
  };
  /// A stretch of text: a token, or what lies between tokens (no id).
  struct Stretch {
    std::string_view text;
    std::optional<TokenId> id;
  };

  /// @throws FormatError: an id that the vocabulary gives to another token, or the other way round
  void read(const Component& tokens, const Vocabulary& vocabulary, const Normalizer& normalizer);
  /// Adds the token that `item` describes with `content`, `special`, `lstrip`, ... @throws as read()
  void read_token(const Component& item, TokenId id, const Vocabulary& vocabulary, const Normalizer& normalizer);
  /// Adds one token; its `written` form is what is looked for.
  /// @throws FormatError naming `file` when its text or id is there already, or its text is too long
  void add(Token token, TokenId id, const std::string& file);
  /// Adds a special token that only tokenizer_config.json names; does nothing where it is there already.
  void add_special(const std::string& content, TokenId id);

  /// Cuts out the tokens that are matched on raw text, or (`normalized`) those matched after normalization.
  /// @param special whether special tokens are cut out too; else they stay text
  [[nodiscard]] std::vector<Stretch> split(std::string_view text, bool normalized, bool special) const;

  [[nodiscard]] const Token* find(TokenId id) const;
  [[nodiscard]] std::optional<TokenId> id(std::string_view content) const;
  [[nodiscard]] int64_t size() const { return highest_ + 1; }  ///< highest id + 1

 private:
  std::unordered_map<TokenId, Token> tokens_;
  std::unordered_map<std::string, TokenId> ids_;
  TokenTrie raw_, normalized_;
  TokenId highest_ = -1;
};

}  // namespace scalebits
