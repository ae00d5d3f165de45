// SPDX-License-Identifier: Apache-2.0
/// Words met before in a text and their tokens: most of any text are words that have been there already.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "scalebits/io/tokenizer.h"

namespace scalebits {

/// Open addressing on a 64-bit hash; texts and tokens lie in two vectors. Bounded: a full cache takes no more words.
class WordCache {
 public:
  /// Words above are rare, and cheap to encode next to being long. With the count this bounds the cache to some 10 MB.
  static constexpr size_t kLongestWord = 128;
  static constexpr size_t kMaxWords = 1 << 16;

  static uint64_t hash(std::string_view word) {
    constexpr uint64_t kOdd = 0x9e3779b97f4a7c15ULL;
    uint64_t h = word.size() * kOdd;
    const auto mix = [&](uint64_t bytes) {
      h = (h ^ bytes) * kOdd;
      h ^= h >> 29;
    };
    const char* at = word.data();
    size_t left = word.size();
    for (; left >= 8; left -= 8, at += 8) mix(read(at, 8));
    if (left > 0) mix(read(at, left));
    return h ^ (h >> 32);
  }

  /// Tokens of a word; nothing when it is not known. Valid until the next put().
  [[nodiscard]] std::optional<std::span<const TokenId>> find(std::string_view word, uint64_t hash) const {
    if (slots_.empty()) return std::nullopt;
    for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[at];
      if (slot.length == 0) return std::nullopt;
      if (slot.hash == hash && slot.length == word.size() &&
          std::memcmp(texts_.data() + slot.text, word.data(), word.size()) == 0) {
        return std::span(ids_.data() + slot.ids, slot.count);
      }
    }
  }

  /// Remembers a word that find() did not know. @param word not empty, at most kLongestWord bytes
  void put(std::string_view word, uint64_t hash, std::span<const TokenId> ids) {
    if (words_ == kMaxWords) return;
    if (2 * (words_ + 1) > slots_.size()) grow();
    place(slots_, {hash, static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(ids_.size()),
                   static_cast<uint32_t>(word.size()), static_cast<uint32_t>(ids.size())});
    texts_.insert(texts_.end(), word.begin(), word.end());
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    ++words_;
  }

 private:
  struct Slot {
    uint64_t hash;
    uint32_t text, ids, length, count;  ///< length 0: empty
  };

  static uint64_t read(const char* at, size_t count) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, at, count);
    return bytes;
  }

  static void place(std::vector<Slot>& slots, const Slot& slot) {
    size_t at = slot.hash & (slots.size() - 1);
    while (slots[at].length != 0) at = (at + 1) & (slots.size() - 1);
    slots[at] = slot;
  }

  void grow() {
    std::vector<Slot> larger(slots_.empty() ? 256 : 2 * slots_.size());
    for (const Slot& slot : slots_) {
      if (slot.length != 0) place(larger, slot);
    }
    slots_ = std::move(larger);
  }

  std::vector<Slot> slots_;
  std::vector<char> texts_;
  std::vector<TokenId> ids_;
  size_t words_ = 0;
};

}  // namespace scalebits
