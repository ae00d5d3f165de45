// SPDX-License-Identifier: Apache-2.0
/// SentencePiece's `precompiled_charsmap`: which characters are replaced by what, before anything else (NFKC and such).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

/// A Darts double array over UTF-8, whose leaves are positions of strings. Immutable after construction.
class CharactersMap {
 public:
  /// @param map   length of the trie in bytes (u32), its units (u32, little endian), strings that end with a zero
  /// @param where the file, in errors
  /// @throws FormatError: a trie that leads outside of itself, strings without an end
  CharactersMap(std::string_view map, std::string where);

  /// Replaces, from left to right, the longest text that the map knows; all else stays.
  /// @param text UTF-8
  /// @throws FormatError when the result would have more than `max_bytes`, or is not UTF-8
  [[nodiscard]] std::string apply(std::string_view text, size_t max_bytes) const;

 private:
  struct Match {
    size_t length = 0;  ///< 0: none
    uint32_t string = 0;
  };
  [[nodiscard]] Match find_longest(std::string_view text) const;

  std::vector<uint32_t> units_;
  std::string strings_;
  std::string where_;
};

}  // namespace scalebits
