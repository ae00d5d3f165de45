// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits {
namespace {

/// What a character without a token costs below the worst token (SentencePiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10;

}  // namespace

/// By byte position the best way to get there: its score, and where its last token begins.
struct Unigram::Work final : Scratch {
  struct Best {
    double score;
    size_t begin;
    TokenId id;  ///< kNone: no way yet
  };
  static constexpr TokenId kNone = -2, kUnknown = -1;
  std::vector<Best> best;
};

std::unique_ptr<Unigram> Unigram::read(const Component& model) {
  const std::vector<Component> items = model.child("vocab").items(kMaxTokenId);
  if (items.empty()) model.child("vocab").malformed("pairs of a token and its score");
  Options options;
  options.file = model.file();
  std::vector<Vocabulary::Entry> entries;
  for (const Component& item : items) {
    const Json& pair = item.json();
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number() ||
        !std::isfinite(pair[1].get<double>())) {
      item.malformed("a pair of a token and its score");
    }
    entries.emplace_back(pair[0].get_ref<const std::string&>(), static_cast<TokenId>(entries.size()));
    options.scores.push_back(pair[1].get<double>());
  }
  const Component unknown = model.child("unk_id");
  if (!unknown.is_null()) {
    options.unknown = static_cast<TokenId>(unknown.integer(0, static_cast<int64_t>(entries.size()) - 1));
  }
  options.byte_fallback = model.flag("byte_fallback", false);
  Vocabulary vocabulary(entries, model.file(), model.child("vocab").path());
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(options));
}

Unigram::Unigram(Vocabulary vocabulary, Options options)
    : TokenModel(std::move(vocabulary)), options_(std::move(options)) {
  for (const double score : options_.scores) {
    if (score != -INFINITY) unknown_score_ = std::min(unknown_score_, score);
  }
  unknown_score_ -= kUnknownPenalty;
  for (int byte = 0; byte < 256; ++byte) {
    fallback_[byte] = this->vocabulary().id(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
  for (TokenId id = 0; id < this->vocabulary().size(); ++id) {
    if (options_.scores[static_cast<size_t>(id)] == -INFINITY) continue;
    uint32_t node = 0;
    for (const char c : this->vocabulary().token(id)) {
      const uint64_t edge = uint64_t{node} << 8 | static_cast<unsigned char>(c);
      const auto [found, is_new] = edges_.emplace(edge, static_cast<uint32_t>(ends_.size()));
      if (is_new) ends_.push_back(-1);
      node = found->second;
    }
    ends_[node] = id;
  }
}

std::unique_ptr<TokenModel::Scratch> Unigram::make_scratch() const { return std::make_unique<Work>(); }

void Unigram::find_best_path(std::string_view piece, Work& work) const {
  auto& best = work.best;
  best.assign(piece.size() + 1, {0, 0, Work::kNone});
  const auto offer = [&](size_t begin, size_t end, TokenId id, double score) {
    if (best[end].id == Work::kNone || score > best[end].score) best[end] = {score, begin, id};
  };
  for (size_t begin = 0; begin < piece.size(); begin += utf8_length(piece[begin])) {
    const size_t character = utf8_length(piece[begin]);
    const double so_far = best[begin].score;
    bool has_character = false;
    uint32_t node = 0;
    for (size_t at = begin; at < piece.size(); ++at) {
      const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<unsigned char>(piece[at]));
      if (edge == edges_.end()) break;
      node = edge->second;
      if (ends_[node] < 0) continue;
      offer(begin, at + 1, ends_[node], so_far + options_.scores[static_cast<size_t>(ends_[node])]);
      has_character = has_character || at + 1 - begin == character;
    }
    if (!has_character) offer(begin, begin + character, Work::kUnknown, so_far + unknown_score_);
  }
}

/// A run of characters that no token spells is one unknown token.
void Unigram::encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const {
  auto& work = static_cast<Work&>(scratch);
  find_best_path(piece, work);
  std::vector<std::pair<size_t, TokenId>> path;  // begins and tokens, the last first
  for (size_t end = piece.size(); end > 0; end = path.back().first) {
    const Work::Best& best = work.best[end];
    const TokenId id = options_.unknown && best.id == *options_.unknown ? Work::kUnknown : best.id;
    if (id == Work::kUnknown && !path.empty() && path.back().second == id) {
      path.back().first = best.begin;
    } else {
      path.emplace_back(best.begin, id);
    }
  }
  for (size_t i = path.size(); i > 0; --i) {
    const auto& [begin, id] = path[i - 1];
    const size_t end = i > 1 ? path[i - 2].first : piece.size();
    if (id == Work::kUnknown) {
      put_unknown(piece.substr(begin, end - begin), out);
    } else {
      out.push_back(id);
    }
  }
}

void Unigram::put_unknown(std::string_view text, std::vector<TokenId>& out) const {
  const auto fallback = [&](char byte) { return fallback_[static_cast<unsigned char>(byte)]; };
  if (options_.byte_fallback && std::all_of(text.begin(), text.end(), [&](char c) { return fallback(c) >= 0; })) {
    for (const char c : text) out.push_back(fallback(c));
    return;
  }
  if (!options_.unknown) {
    fail<FormatError>(options_.file, "model.unk_id: missing, expected one, as there is no token for {}.", quote(text));
  }
  out.push_back(*options_.unknown);
}

}  // namespace scalebits
