// SPDX-License-Identifier: Apache-2.0
/// Byte-pair encoding.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scalebits/io/bpe_model.h"
#include "scalebits/io/token_model.h"

namespace scalebits {

class Bpe final : public TokenModel {
 public:
  /// @throws FormatError: a merge of tokens that are not there
  explicit Bpe(BpeModel model);

  [[nodiscard]] std::unique_ptr<Scratch> make_scratch() const override;
  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const override;

 private:
  struct Merge {
    uint64_t pair = kNoPair;
    uint32_t rank = 0;
    TokenId result = 0;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  struct Work;  // the scratch

  void add_merges(const BpeModel& model);
  void add_scored_merges(const std::vector<float>& scores);
  void add_merge(TokenId left, TokenId right, uint32_t rank, TokenId result);
  void find_byte_tokens();
  [[nodiscard]] bool merges_stay_inside_words() const;
  [[nodiscard]] const Merge* find_merge(TokenId left, TokenId right) const;
  void encode_word(std::string_view word, Work& work, std::vector<TokenId>& out) const;
  void start_symbols(std::string_view word, Work& work) const;
  void merge_few(const Work& work, std::vector<TokenId>& out) const;
  static void link_symbols(Work& work);
  void merge_symbols(Work& work) const;
  [[nodiscard]] std::optional<TokenId> whole_word(std::string_view word) const;

  std::string file_;
  std::vector<Merge> merges_;                // open addressing, a power of two
  std::array<TokenId, 256> byte_symbols_{};  // byte-level: the token of a byte, or -1
  std::array<TokenId, 256> fallback_{};      // the token <0xHH>, or -1
  std::string unknown_;                      // unk_token
  bool byte_level_ = false, byte_fallback_ = false, fuse_unknown_ = false, ignore_merges_ = false;
  bool words_split_ = false;  // no merge crosses into a new word
};

}  // namespace scalebits
