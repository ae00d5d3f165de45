// SPDX-License-Identifier: Apache-2.0
/// The merge loop. In a long word pairs wait in a heap by rank, then position: O(n log n) for n symbols.
#include <algorithm>
#include <functional>
#include <span>

#include "scalebits/io/bpe.h"
#include "scalebits/io/pre_tokenizer.h"
#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"
#include "scalebits/io/word_cache.h"

namespace scalebits {
namespace {

constexpr int32_t kMerged = -2;
/// Up to here looking at every pair for each merge is quicker than a heap.
constexpr size_t kFewSymbols = 32;
constexpr std::string_view kWordStart = "\xe2\x96\x81";

}  // namespace

struct Bpe::Work final : Scratch {
  struct Symbol {
    TokenId id;
    int32_t previous, next;  ///< -1 at the ends; `next` is kMerged for a symbol that its left neighbour took in
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> queue;
  WordCache cache;
};

std::unique_ptr<TokenModel::Scratch> Bpe::make_scratch() const { return std::make_unique<Work>(); }

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const {
  auto& work = static_cast<Work&>(scratch);
  size_t begin = 0;
  if (words_split_) {
    for (size_t at = piece.find(kWordStart, 1); at != std::string_view::npos; at = piece.find(kWordStart, at + 1)) {
      if (piece.substr(0, at).ends_with(kWordStart)) continue;
      encode_word(piece.substr(begin, at - begin), work, out);
      begin = at;
    }
  }
  encode_word(piece.substr(begin), work, out);
}

void Bpe::encode_word(std::string_view word, Work& work, std::vector<TokenId>& out) const {
  if (word.empty()) return;
  const bool cached = word.size() <= WordCache::kLongestWord;
  const uint64_t hash = cached ? WordCache::hash(word) : 0;
  if (cached) {
    if (const auto ids = work.cache.find(word, hash)) {
      for (const TokenId id : *ids) out.push_back(id);  // mostly one
      return;
    }
  }
  const size_t first = out.size();
  if (const auto whole = ignore_merges_ ? whole_word(word) : std::nullopt) {
    out.push_back(*whole);
  } else {
    start_symbols(word, work);
    if (work.symbols.size() <= kFewSymbols) {
      merge_few(work, out);
    } else {
      link_symbols(work);
      merge_symbols(work);
      const auto& symbols = work.symbols;
      for (int32_t i = 0; i >= 0; i = symbols[i].next) out.push_back(symbols[i].id);
    }
  }
  if (cached) work.cache.put(word, hash, std::span(out).subspan(first));
}

std::optional<TokenId> Bpe::whole_word(std::string_view word) const {
  if (!byte_level_) return vocabulary().id(word);
  std::string spelled;
  for (const char c : word) append_utf8(spelled, byte_level_character(static_cast<unsigned char>(c)));
  return vocabulary().id(spelled);
}

void Bpe::start_symbols(std::string_view word, Work& work) const {
  auto& symbols = work.symbols;
  symbols.clear();
  bool unknown_waits = false;
  const auto add = [&](TokenId token) { symbols.push_back({token, 0, 0}); };
  const auto add_unknown = [&] {
    const auto token = vocabulary().id(unknown_);
    if (!token) fail<FormatError>(file_, "model.unk_token: got {}, expected a token.", quote(unknown_));
    add(*token);
  };
  const auto add_missing = [&](std::string_view character) {
    const auto fallback = [&](char byte) { return fallback_[static_cast<unsigned char>(byte)]; };
    if (byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char c) { return fallback(c) >= 0; })) {
      for (const char c : character) add(fallback(c));
    } else if (!unknown_.empty()) {  // without an unk_token the reference drops the character
      if (unknown_waits && !fuse_unknown_) add_unknown();
      unknown_waits = true;
    }
  };
  const auto add_known = [&](TokenId token) {
    if (unknown_waits) add_unknown();
    unknown_waits = false;
    add(token);
  };
  std::string spelled;
  for (size_t pos = 0; pos < word.size();) {
    if (byte_level_) {
      const auto byte = static_cast<unsigned char>(word[pos++]);
      if (byte_symbols_[byte] >= 0) {
        add_known(byte_symbols_[byte]);
      } else {
        spelled.clear();
        append_utf8(spelled, byte_level_character(byte));
        add_missing(spelled);
      }
    } else {
      const std::string_view character = word.substr(pos, utf8_length(word[pos]));
      pos += character.size();
      if (const auto token = vocabulary().id(character)) {
        add_known(*token);
      } else {
        add_missing(character);
      }
    }
  }
  if (unknown_waits) add_unknown();
  if (symbols.size() > static_cast<size_t>(INT32_MAX))
    fail<FormatError>(file_, "text: a word of more than 2^31 bytes.");
}

/// The pair of least rank, the leftmost of several, again and again; what is left goes to `out`.
void Bpe::merge_few(const Work& work, std::vector<TokenId>& out) const {
  constexpr uint32_t kNoRank = UINT32_MAX;
  std::array<TokenId, kFewSymbols> ids;
  std::array<uint32_t, kFewSymbols> ranks;  // of the pair that begins here
  std::array<TokenId, kFewSymbols> results;
  size_t count = work.symbols.size();
  for (size_t i = 0; i < count; ++i) ids[i] = work.symbols[i].id;
  const auto look = [&](size_t i) {
    const Merge* merge = find_merge(ids[i], ids[i + 1]);
    ranks[i] = merge == nullptr ? kNoRank : merge->rank;
    results[i] = merge == nullptr ? -1 : merge->result;
  };
  for (size_t i = 0; i + 1 < count; ++i) look(i);
  while (count > 1) {
    const auto* const end = ranks.begin() + count - 1;
    const auto* const least = std::min_element(ranks.cbegin(), end);
    if (*least == kNoRank) break;
    const auto at = static_cast<size_t>(least - ranks.begin());
    ids[at] = results[at];
    --count;
    for (size_t i = at + 1; i < count; ++i) ids[i] = ids[i + 1];
    for (size_t i = at + 1; i + 1 < count; ++i) {
      ranks[i] = ranks[i + 1];
      results[i] = results[i + 1];
    }
    if (at + 1 < count) look(at);
    if (at > 0) look(at - 1);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count));
}

void Bpe::link_symbols(Work& work) {
  auto& symbols = work.symbols;
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < count ? i + 1 : -1;
  }
}

void Bpe::merge_symbols(Work& work) const {
  auto& symbols = work.symbols;
  auto& queue = work.queue;
  queue.clear();
  const auto waiting = [](uint32_t rank, int32_t at) {
    return static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(at);
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    const Merge* merge = find_merge(symbols[i].id, symbols[i + 1].id);
    if (merge != nullptr) queue.push_back(waiting(merge->rank, static_cast<int32_t>(i)));
  }
  const auto later = std::greater<>();
  std::make_heap(queue.begin(), queue.end(), later);
  const auto offer = [&](int32_t left, int32_t right) {
    const Merge* merge = find_merge(symbols[left].id, symbols[right].id);
    if (merge == nullptr) return;
    queue.push_back(waiting(merge->rank, left));
    std::push_heap(queue.begin(), queue.end(), later);
  };
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), later);
    const auto rank = static_cast<uint32_t>(queue.back() >> 32);
    const auto at = static_cast<int32_t>(queue.back() & 0xffffffffU);
    queue.pop_back();
    const int32_t right = symbols[at].next;
    if (right < 0) continue;
    // An entry is out of date when one of its symbols has grown since. The pair then makes a longer token, so another
    // merge with another rank.
    const Merge* merge = find_merge(symbols[at].id, symbols[right].id);
    if (merge == nullptr || merge->rank != rank) continue;
    symbols[at].id = merge->result;
    symbols[at].next = symbols[right].next;
    symbols[right].next = kMerged;
    if (symbols[at].next >= 0) {
      symbols[symbols[at].next].previous = at;
      offer(at, symbols[at].next);
    }
    if (symbols[at].previous >= 0) offer(symbols[at].previous, at);
  }
}

}  // namespace scalebits
