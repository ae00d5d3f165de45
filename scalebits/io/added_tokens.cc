// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/added_tokens.h"

#include <algorithm>

#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits {
namespace {

/// Bounds the time to look for a match at one position.
constexpr size_t kMaxAddedTokenBytes = 4096;
constexpr size_t kMaxAddedTokens = 1 << 20;

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(previous_character(text, begin))) return false;
  return end == text.size() || !is_word(next_character(text, end));
}

}  // namespace

void TokenTrie::add(std::string_view text, TokenId id) {
  uint32_t node = 0;
  for (const char c : text) {
    const uint64_t edge = uint64_t{node} << 8 | static_cast<unsigned char>(c);
    const auto [found, is_new] = edges_.emplace(edge, static_cast<uint32_t>(ends_.size()));
    if (is_new) ends_.push_back(-1);
    node = found->second;
  }
  ends_[node] = id;
  starts_[static_cast<unsigned char>(text[0])] = true;
}

std::optional<TokenTrie::Found> TokenTrie::find(std::string_view text, size_t from) const {
  if (edges_.empty()) return std::nullopt;
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    std::optional<Found> longest;
    uint32_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[at]));
      if (edge == edges_.end()) break;
      node = edge->second;
      if (ends_[node] >= 0) longest = Found{begin, at + 1, ends_[node]};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

void AddedTokens::read(const Component& tokens, const Vocabulary& vocabulary, const Normalizer& normalizer) {
  if (tokens.is_null()) return;
  for (const Component& item : tokens.items(kMaxAddedTokens)) {
    read_token(item, static_cast<TokenId>(item.child("id").integer(0, kMaxTokenId)), vocabulary, normalizer);
  }
}

void AddedTokens::read_token(const Component& item, TokenId id, const Vocabulary& vocabulary,
                             const Normalizer& normalizer) {
  Token token;
  token.content = item.text("content");
  if (token.content.empty()) return;  // as the reference does
  token.special = item.flag("special", false);
  token.single_word = item.flag("single_word", false);
  token.lstrip = item.flag("lstrip", false);
  token.rstrip = item.flag("rstrip", false);
  token.normalized = item.flag("normalized", !token.special);
  token.written = token.normalized ? normalizer.apply(token.content) : token.content;
  const auto known = vocabulary.id(token.content);
  const std::string_view there = vocabulary.token(id);
  if ((known && *known != id) || (!there.empty() && there != token.content)) {
    fail<FormatError>(item.file(), "{}: got {} with id {}, expected what the vocabulary says (id {}; {}).", item.path(),
                      quote(token.content), id, known.value_or(-1), quote(there));
  }
  add(std::move(token), id, item.file());
}

void AddedTokens::add_special(const std::string& content, TokenId id) {
  if (content.empty() || find(id) != nullptr) return;
  Token token;
  token.content = token.written = content;
  token.special = true;
  add(std::move(token), id, "tokenizer_config.json");
}

void AddedTokens::add(Token token, TokenId id, const std::string& file) {
  if (token.content.size() > kMaxAddedTokenBytes) {
    fail<FormatError>(file, "added_tokens: got {} of {} bytes, expected at most {}.", quote(token.content),
                      token.content.size(), kMaxAddedTokenBytes);
  }
  if (tokens_.count(id) != 0 || ids_.count(token.content) != 0) {
    fail<FormatError>(file, "added_tokens: got {} with id {} beside another with this text or id, expected each once.",
                      quote(token.content), id);
  }
  if (!token.written.empty()) (token.normalized ? normalized_ : raw_).add(token.written, id);
  ids_.emplace(token.content, id);
  tokens_.emplace(id, std::move(token));
  highest_ = std::max(highest_, id);
}

std::vector<AddedTokens::Stretch> AddedTokens::split(std::string_view text, bool normalized, bool special) const {
  const TokenTrie& trie = normalized ? normalized_ : raw_;
  std::vector<Stretch> stretches;
  size_t done = 0;
  size_t from = 0;
  while (const auto found = trie.find(text, from)) {
    from = found->end;
    const Token& token = tokens_.at(found->id);
    if (token.special && !special) continue;
    if (token.single_word && !stands_alone(text, found->begin, found->end)) continue;
    const size_t begin = token.lstrip ? white_space_begin(text, found->begin) : found->begin;
    const size_t end = token.rstrip ? white_space_end(text, found->end) : found->end;
    // White space that the match before has taken stays with that one.
    if (begin > done) stretches.push_back({text.substr(done, begin - done), std::nullopt});
    stretches.push_back({text.substr(found->begin, found->end - found->begin), found->id});
    done = std::max(done, end);
  }
  if (done < text.size()) stretches.push_back({text.substr(done), std::nullopt});
  return stretches;
}

const AddedTokens::Token* AddedTokens::find(TokenId id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second;
}

std::optional<TokenId> AddedTokens::id(std::string_view content) const {
  const auto found = ids_.find(std::string(content));
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

}  // namespace scalebits
