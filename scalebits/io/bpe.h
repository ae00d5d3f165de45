// SPDX-License-Identifier: Apache-2.0
/// Byte-pair encoding: the vocabulary and merges of a tokenizer.json's `model`.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scalebits/io/component.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits {

/// Ids above would make tables by id a way to exhaust memory; the largest vocabularies have 2^18 entries.
constexpr int64_t kMaxTokenId = (1 << 24) - 1;

/// Immutable after construction.
class Bpe {
 public:
  /// Working memory and word cache of one encode() call.
  class Scratch {
    friend class Bpe;
    struct Symbol {
      TokenId id;
      int32_t previous, next;  ///< -1 at the ends; `next` is kMerged for a symbol that its left neighbour took in
    };
    struct Hash {
      using is_transparent = void;
      size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
    };
    std::vector<Symbol> symbols_;
    std::vector<uint64_t> queue_;
    std::unordered_map<std::string, std::pair<uint32_t, uint32_t>, Hash, std::equal_to<>> cache_;  // -> begin, count
    std::vector<TokenId> cached_ids_;
  };

  /// @param model      the component `model`
  /// @param byte_level whether pieces come as plain bytes that the vocabulary spells as byte_level_character()
  /// @throws FormatError, Unsupported
  Bpe(const Component& model, bool byte_level);

  /// Appends the tokens of one piece.
  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const;

  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const;
  [[nodiscard]] std::string_view token(TokenId id) const;                             ///< empty when unknown
  [[nodiscard]] int64_t size() const { return static_cast<int64_t>(spans_.size()); }  ///< highest id + 1

 private:
  struct Merge {
    uint64_t pair = kNoPair;
    uint32_t rank = 0;
    TokenId result = 0;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  void read_vocabulary(const Component& vocab);
  void read_merges(const Component& merges);
  void add_merge(std::string_view left, std::string_view right, uint32_t rank, const Component& where);
  void find_byte_tokens();
  [[nodiscard]] bool merges_stay_inside_words() const;
  [[nodiscard]] const Merge* find_merge(TokenId left, TokenId right) const;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<TokenId>& out) const;
  void start_symbols(std::string_view word, Scratch& scratch) const;
  void merge_symbols(Scratch& scratch) const;
  [[nodiscard]] std::optional<TokenId> whole_word(std::string_view word) const;

  std::string file_;
  std::vector<char> characters_;                       // all tokens, one after the other
  std::vector<std::pair<uint32_t, uint32_t>> spans_;   // by id: begin, length; length 0 where there is no token
  std::unordered_map<std::string_view, TokenId> ids_;  // views into characters_
  std::vector<Merge> merges_;                          // open addressing, a power of two
  std::array<TokenId, 256> byte_symbols_{};            // byte-level: the token of a byte, or -1
  std::array<TokenId, 256> fallback_{};                // the token <0xHH>, or -1
  std::string unknown_;                                // unk_token
  bool byte_level_ = false, byte_fallback_ = false, fuse_unknown_ = false, ignore_merges_ = false;
  bool words_split_ = false;  // no merge crosses into a new word
};

}  // namespace scalebits
