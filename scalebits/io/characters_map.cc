// SPDX-License-Identifier: Apache-2.0
/// The walk of https://github.com/s-yata/darts-clone: from unit i with offset o to (i ^ o) ^ byte, where the label has
/// to be that byte; the leaf of i is found at i ^ o.
#include "scalebits/io/characters_map.h"

#include <cstring>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits {
namespace {

constexpr uint32_t kIsLeaf = 1U << 31, kHasLeaf = 1U << 8;

size_t offset(uint32_t unit) { return size_t{unit >> 10} << ((unit & (1U << 9)) >> 6); }
uint32_t value(uint32_t leaf) { return leaf & ~kIsLeaf; }

}  // namespace

CharactersMap::CharactersMap(std::string_view map, std::string where) : where_(std::move(where)) {
  const auto malformed = [&](std::string_view what) {
    fail<FormatError>(where_, "precompiled_charsmap: got {} bytes with {}, expected a trie and its strings.",
                      map.size(), what);
  };
  uint32_t trie_bytes = 0;
  if (map.size() <= sizeof trie_bytes) malformed("nothing in them");
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  const std::string_view rest = map.substr(sizeof trie_bytes);
  if (trie_bytes >= rest.size() || trie_bytes % sizeof(uint32_t) != 0 || trie_bytes == 0) malformed("a wrong length");
  strings_ = rest.substr(trie_bytes);
  if (strings_.back() != '\0') malformed("a string without an end");
  units_.resize(trie_bytes / sizeof(uint32_t));
  std::memcpy(units_.data(), rest.data(), trie_bytes);
  for (size_t i = 0; i < units_.size(); ++i) {
    if ((units_[i] & kIsLeaf) != 0) continue;  // checked where it is pointed to
    const size_t child = i ^ offset(units_[i]);
    if ((child | 0xffU) >= units_.size()) malformed("a step outside of the trie");
    if ((units_[i] & kHasLeaf) != 0 && value(units_[child]) >= strings_.size()) {
      malformed("a leaf outside of the strings");
    }
  }
  if ((units_[0] & kIsLeaf) != 0) malformed("a leaf for a root");
}

CharactersMap::Match CharactersMap::find_longest(std::string_view text) const {
  Match longest;
  size_t at = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    const uint32_t unit = units_[at];
    if ((unit & (kIsLeaf | 0xffU)) != byte) break;
    at ^= offset(unit);
    if ((unit & kHasLeaf) != 0) longest = {i + 1, value(units_[at])};
  }
  return longest;
}

std::string CharactersMap::apply(std::string_view text, size_t max_bytes) const {
  std::string result;
  result.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Match match = find_longest(text.substr(pos));
    const size_t length = match.length > 0 ? match.length : utf8_length(text[pos]);
    const std::string_view put =
        match.length > 0 ? std::string_view(strings_.c_str() + match.string) : text.substr(pos, length);
    if (result.size() + put.size() > max_bytes) {
      fail<FormatError>(where_, "precompiled_charsmap: got a text of {} bytes, expected at most {} after it.",
                        text.size(), max_bytes);
    }
    result += put;
    pos += length;
  }
  // A hostile map may end inside a character or put half of one.
  if (find_invalid_utf8(result) != std::string_view::npos) {
    fail<FormatError>(where_, "precompiled_charsmap: got replacements that are not UTF-8.");
  }
  return result;
}

}  // namespace scalebits
