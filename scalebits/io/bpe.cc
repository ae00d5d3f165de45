// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/bpe.h"

#include <algorithm>
#include <bit>

#include "scalebits/io/pre_tokenizer.h"
#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits {
namespace {

/// Longest tokens in use are runs of a few hundred spaces.
constexpr size_t kMaxTokenBytes = 1 << 16;
constexpr size_t kMaxMerges = 1 << 24;
constexpr std::string_view kWordStart = "\xe2\x96\x81";  // U+2581, what SentencePiece writes for a space

/// Fibonacci hashing: the middle bits of the product depend on all of both ids.
size_t first_slot(uint64_t pair) { return (pair * 0x9e3779b97f4a7c15ULL) >> 20; }

void refuse_text(const Component& model, std::string_view key) {
  const Component option = model.child(key);
  if (!option.is_null() && !option.text().empty()) option.unsupported(option.text(), "none");
}

}  // namespace

Bpe::Bpe(const Component& model, bool byte_level) : file_(model.file()), byte_level_(byte_level) {
  const Component type = model.child("type");  // files of the first releases leave it out
  if (!type.is_null() && type.text() != "BPE") type.unsupported(type.text(), "BPE");
  refuse_text(model, "continuing_subword_prefix");
  refuse_text(model, "end_of_word_suffix");
  const Component dropout = model.child("dropout");
  if (!dropout.is_null() && dropout.json() != 0.0) dropout.unsupported(dropout.json().dump(), "none");
  byte_fallback_ = model.flag("byte_fallback", false);
  fuse_unknown_ = model.flag("fuse_unk", false);
  ignore_merges_ = model.flag("ignore_merges", false);
  const Component unknown = model.child("unk_token");
  if (!unknown.is_null()) unknown_ = unknown.text();
  read_vocabulary(model.child("vocab"));
  read_merges(model.child("merges"));
  find_byte_tokens();
  words_split_ = !byte_level_ && !ignore_merges_ && id(kWordStart) && merges_stay_inside_words();
}

void Bpe::read_vocabulary(const Component& vocab) {
  if (!vocab.is_object() || vocab.json().empty()) vocab.malformed("an object of tokens and ids");
  const auto& entries = vocab.json().get_ref<const Json::object_t&>();
  if (entries.size() > static_cast<size_t>(kMaxTokenId)) {
    vocab.malformed(fmt::format("at most {} tokens", kMaxTokenId));
  }
  int64_t highest = 0;
  size_t total = 0;
  for (const auto& [text, value] : entries) {
    if (text.size() > kMaxTokenBytes) vocab.malformed(fmt::format("tokens of at most {} bytes", kMaxTokenBytes));
    const Component entry(value, file_, fmt::format("{}[{}]", vocab.path(), quote(text)));
    highest = std::max(highest, entry.integer(0, kMaxTokenId));
    total += text.size();
  }
  characters_.reserve(total);  // so that views into it stay valid
  spans_.resize(static_cast<size_t>(highest) + 1);
  ids_.reserve(entries.size());
  for (const auto& [text, value] : entries) {
    const auto id = value.get<TokenId>();
    auto& [begin, length] = spans_[static_cast<size_t>(id)];
    if (length != 0) {
      fail<FormatError>(file_, "{}: got id {} for {} and for {}, expected one token per id.", vocab.path(), id,
                        quote(token(id)), quote(text));
    }
    if (text.empty()) fail<FormatError>(file_, "{}: got an empty token with id {}, expected text.", vocab.path(), id);
    begin = static_cast<uint32_t>(characters_.size());
    length = static_cast<uint32_t>(text.size());
    characters_.insert(characters_.end(), text.begin(), text.end());
    ids_.emplace(token(id), id);
  }
}

void Bpe::read_merges(const Component& merges) {
  if (!merges.json().is_array()) merges.malformed("an array of pairs");
  const size_t count = merges.json().size();
  if (count > kMaxMerges) merges.malformed(fmt::format("at most {} merges", kMaxMerges));
  merges_.resize(std::bit_ceil(2 * count + 2));
  uint32_t rank = 0;
  for (const Json& merge : merges.json()) {
    const auto here = [&] { return Component(merge, file_, fmt::format("{}[{}]", merges.path(), rank)); };
    if (merge.is_string()) {
      const std::string_view text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;  // the first line of a merges.txt
      const size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        here().malformed("two tokens with a space between");
      }
      add_merge(text.substr(0, space), text.substr(space + 1), rank, here());
    } else {
      if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) {
        here().malformed("a pair of tokens");
      }
      add_merge(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>(), rank, here());
    }
    ++rank;
  }
}

void Bpe::add_merge(std::string_view left, std::string_view right, uint32_t rank, const Component& where) {
  const auto known = [&](std::string_view token) {
    const auto found = id(token);
    if (!found) where.malformed(fmt::format("{} to be in the vocabulary", quote(token)));
    return *found;
  };
  const auto left_id = static_cast<uint64_t>(known(left));
  const uint64_t pair = left_id << 32 | static_cast<uint64_t>(known(right));
  const TokenId result = known(std::string(left).append(right));
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
    byte_symbols_[byte] = id(spelled).value_or(-1);
    fallback_[byte] = id(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

/// Whether no merge makes a token in which a word starts behind something else. Then text may be cut before each word
/// start without changing the result, which turns one endless piece into words that the cache knows.
bool Bpe::merges_stay_inside_words() const {
  return std::all_of(merges_.begin(), merges_.end(), [&](const Merge& merge) {
    if (merge.pair == kNoPair) return true;
    std::string_view text = token(merge.result);
    while (text.starts_with(kWordStart)) text.remove_prefix(kWordStart.size());
    return text.find(kWordStart) == std::string_view::npos;
  });
}

std::optional<TokenId> Bpe::id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::string_view Bpe::token(TokenId id) const {
  if (id < 0 || id >= size()) return {};
  const auto& [begin, length] = spans_[static_cast<size_t>(id)];
  return {characters_.data() + begin, length};
}

}  // namespace scalebits
