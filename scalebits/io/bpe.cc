// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/bpe.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "scalebits/io/pre_tokenizer.h"
#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits {
namespace {

constexpr std::string_view kWordStart = "\xe2\x96\x81";  // U+2581, what SentencePiece writes for a space

/// Fibonacci hashing: the middle bits of the product depend on all of both ids.
size_t first_slot(uint64_t pair) { return (pair * 0x9e3779b97f4a7c15ULL) >> 20; }

}  // namespace

Bpe::Bpe(BpeModel model)
    : TokenModel(std::move(model.vocabulary)),
      file_(model.file),
      unknown_(model.unknown),
      byte_level_(model.byte_level),
      byte_fallback_(model.byte_fallback),
      fuse_unknown_(model.fuse_unknown),
      ignore_merges_(model.ignore_merges) {
  if (model.scores.empty()) {
    add_merges(model);
  } else {
    add_scored_merges(model.scores);
  }
  find_byte_tokens();
  words_split_ = !byte_level_ && !ignore_merges_ && vocabulary().id(kWordStart) && merges_stay_inside_words();
}

void Bpe::add_merges(const BpeModel& model) {
  merges_.resize(std::bit_ceil(2 * model.merges.size() + 2));
  std::string both;
  for (size_t rank = 0; rank < model.merges.size(); ++rank) {
    const auto& [left, right] = model.merges[rank];
    const auto known = [&, &left = left, &right = right](std::string_view token) {  // by name for clang 14
      const auto found = vocabulary().id(token);
      if (!found) {
        fail<FormatError>(file_, "{}[{}]: got the merge of {} and {}, expected {} to be in the vocabulary.",
                          model.merges_key, rank, quote(left), quote(right), quote(token));
      }
      return *found;
    };
    both.assign(left).append(right);
    const TokenId left_id = known(left), right_id = known(right), result = known(both);
    add_merge(left_id, right_id, static_cast<uint32_t>(rank), result);
  }
}

/// Every way to put a token together from two others; tokens of equal score have equal rank, so that the leftmost goes
/// first.
void Bpe::add_scored_merges(const std::vector<float>& scores) {
  struct Way {
    TokenId left, right, result;
  };
  std::vector<Way> ways;
  std::vector<float> ranks;
  for (TokenId id = 0; id < vocabulary().size(); ++id) {
    const float score = scores[static_cast<size_t>(id)];
    const std::string_view text = vocabulary().token(id);
    if (text.empty() || score == -INFINITY) continue;
    ranks.push_back(score);
    for (size_t cut = utf8_length(text[0]); cut < text.size(); cut += utf8_length(text[cut])) {
      const auto left = vocabulary().id(text.substr(0, cut));
      const auto right = left ? vocabulary().id(text.substr(cut)) : std::nullopt;
      if (right) ways.push_back({*left, *right, id});
    }
  }
  std::sort(ranks.begin(), ranks.end(), std::greater<>());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  merges_.resize(std::bit_ceil(2 * ways.size() + 2));
  for (const Way& way : ways) {
    const float score = scores[static_cast<size_t>(way.result)];
    const auto at = std::lower_bound(ranks.begin(), ranks.end(), score, std::greater<>());
    add_merge(way.left, way.right, static_cast<uint32_t>(at - ranks.begin()), way.result);
  }
}

void Bpe::add_merge(TokenId left, TokenId right, uint32_t rank, TokenId result) {
  const uint64_t pair = static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
  size_t slot = first_slot(pair) & (merges_.size() - 1);
  while (merges_[slot].pair != kNoPair && merges_[slot].pair != pair) slot = (slot + 1) & (merges_.size() - 1);
  merges_[slot] = {pair, rank, result};  // of two equal pairs the reference keeps the later
}

const Bpe::Merge* Bpe::find_merge(TokenId left, TokenId right) const {
  const uint64_t pair = static_cast<uint64_t>(left) << 32 | static_cast<uint64_t>(right);
  size_t slot = first_slot(pair) & (merges_.size() - 1);
  for (;;) {
    if (merges_[slot].pair == pair) return &merges_[slot];
    if (merges_[slot].pair == kNoPair) return nullptr;
    slot = (slot + 1) & (merges_.size() - 1);
  }
}

void Bpe::find_byte_tokens() {
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelled;
    append_utf8(spelled, byte_level_character(static_cast<unsigned char>(byte)));
    byte_symbols_[byte] = vocabulary().id(spelled).value_or(-1);
    fallback_[byte] = vocabulary().id(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

/// Whether no merge makes a token in which a word starts behind something else. Then text may be cut before each word
/// start without changing the result, which turns one endless piece into words that the cache knows.
bool Bpe::merges_stay_inside_words() const {
  return std::all_of(merges_.begin(), merges_.end(), [&](const Merge& merge) {
    if (merge.pair == kNoPair) return true;
    std::string_view text = vocabulary().token(merge.result);
    while (text.starts_with(kWordStart)) text.remove_prefix(kWordStart.size());
    return text.find(kWordStart) == std::string_view::npos;
  });
}

}  // namespace scalebits
