// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/vocabulary.h"

#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

/// Longest tokens in use are runs of a few hundred spaces.
constexpr size_t kMaxTokenBytes = 1 << 16;
/// Spans are 32-bit; files are capped below this anyway, so only many repeated long tokens could get here.
constexpr size_t kMaxTotalBytes = UINT32_MAX;

}  // namespace

Vocabulary::Vocabulary(std::span<const Entry> entries, const std::string& file, std::string_view key) {
  TokenId highest = -1;
  size_t total = 0;
  for (const auto& [text, id] : entries) {
    if (text.size() > kMaxTokenBytes) {
      fail<FormatError>(file, "{}: got a token of {} bytes, expected tokens of at most {} bytes.", key, text.size(),
                        kMaxTokenBytes);
    }
    if (text.empty()) fail<FormatError>(file, "{}: got an empty token with id {}, expected text.", key, id);
    SCALEBITS_CHECK(id >= 0 && id <= kMaxTokenId);
    highest = std::max(highest, id);
    total += text.size();
  }
  if (total > kMaxTotalBytes) fail<FormatError>(file, "{}: got {} bytes of text, expected less.", key, total);
  characters_.reserve(total);  // so that views into it stay valid
  spans_.resize(static_cast<size_t>(highest + 1));
  ids_.reserve(entries.size());
  for (const auto& [text, id] : entries) {
    auto& [begin, length] = spans_[static_cast<size_t>(id)];
    if (length != 0) {
      fail<FormatError>(file, "{}: got id {} for {} and for {}, expected one token per id.", key, id, quote(token(id)),
                        quote(text));
    }
    begin = static_cast<uint32_t>(characters_.size());
    length = static_cast<uint32_t>(text.size());
    characters_.insert(characters_.end(), text.begin(), text.end());
    if (!ids_.emplace(token(id), id).second) {
      fail<FormatError>(file, "{}: got the token {} twice, expected once.", key, quote(text));
    }
  }
}

std::optional<TokenId> Vocabulary::id(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::string_view Vocabulary::token(TokenId id) const {
  if (id < 0 || id >= size()) return {};
  const auto& [begin, length] = spans_[static_cast<size_t>(id)];
  return {characters_.data() + begin, length};
}

}  // namespace scalebits
