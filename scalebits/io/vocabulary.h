// SPDX-License-Identifier: Apache-2.0
/// Tokens by text and by id, as some file lists them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scalebits/io/tokenizer.h"

namespace scalebits {

/// Ids above would make tables by id a way to exhaust memory; the largest vocabularies have 2^18 entries.
constexpr int64_t kMaxTokenId = (1 << 24) - 1;

/// Immutable after construction; moves keep views valid.
class Vocabulary {
 public:
  using Entry = std::pair<std::string_view, TokenId>;

  Vocabulary() = default;
  /// Copies the texts.
  /// @param entries every text once; ids from 0 to kMaxTokenId
  /// @param file, key name the place in errors
  /// @throws FormatError: an empty or endless token, an id with two texts
  Vocabulary(std::span<const Entry> entries, const std::string& file, std::string_view key);
  Vocabulary(Vocabulary&&) noexcept = default;
  Vocabulary& operator=(Vocabulary&&) noexcept = default;
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const;
  [[nodiscard]] std::string_view token(TokenId id) const;                             ///< empty when unknown
  [[nodiscard]] int64_t size() const { return static_cast<int64_t>(spans_.size()); }  ///< highest id + 1

 private:
  std::vector<char> characters_;                       // all tokens, one after the other
  std::vector<std::pair<uint32_t, uint32_t>> spans_;   // by id: begin, length; length 0 where there is no token
  std::unordered_map<std::string_view, TokenId> ids_;  // views into characters_
};

}  // namespace scalebits
