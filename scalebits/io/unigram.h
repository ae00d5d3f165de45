// SPDX-License-Identifier: Apache-2.0
/// The unigram model of tokenizer.json: of all ways to cut a piece into tokens the one with the highest sum of scores.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "scalebits/io/component.h"
#include "scalebits/io/token_model.h"

namespace scalebits {

class Unigram final : public TokenModel {
 public:
  struct Options {
    std::string file;            ///< in errors
    std::vector<double> scores;  ///< by id; -infinity: no text is cut into this token
    std::optional<TokenId> unknown;
    bool byte_fallback = false;
  };
  Unigram(Vocabulary vocabulary, Options options);

  /// @param model the component `model` with type Unigram: vocab [[text, score], ...], unk_id, byte_fallback
  /// @throws FormatError
  static std::unique_ptr<Unigram> read(const Component& model);

  [[nodiscard]] std::unique_ptr<Scratch> make_scratch() const override;
  /// @throws FormatError when a character is needed that has no token, and there is no unk_id
  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const override;

 private:
  struct Work;

  void find_best_path(std::string_view piece, Work& work) const;
  void put_unknown(std::string_view text, std::vector<TokenId>& out) const;

  Options options_;
  double unknown_score_ = std::numeric_limits<double>::max();
  std::array<TokenId, 256> fallback_{};  // the token <0xHH>, or -1
  // The trie of all tokens: node * 256 + byte -> node, node 0 is the root; by node the token that ends there, or -1.
  std::unordered_map<uint64_t, uint32_t> edges_;
  std::vector<TokenId> ends_ = {-1};
};

}  // namespace scalebits
