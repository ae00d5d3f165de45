// SPDX-License-Identifier: Apache-2.0
/// A tokenizer.model, encoded by the SentencePiece library: the kinds unigram and BPE, with its own normalizer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/sentencepiece_spec.h"
#include "scalebits/io/token_model.h"

namespace scalebits {

class SentencePieceModel final : public TokenModel {
 public:
  enum class Kind { kNormal, kUnknown, kControl };

  /// @param file   the bytes of a tokenizer.model
  /// @param prefix whether the model puts a space before each piece (where its own spec says so)
  /// @throws FormatError
  static std::unique_ptr<SentencePieceModel> load(const std::string& file, bool prefix, const std::string& where);
  ~SentencePieceModel() override;

  [[nodiscard]] std::unique_ptr<Scratch> make_scratch() const override;
  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const override;

  [[nodiscard]] const SentencePieceSpec& spec() const { return spec_; }
  [[nodiscard]] Kind kind(TokenId id) const;
  [[nodiscard]] std::optional<TokenId> bos() const;
  [[nodiscard]] std::optional<TokenId> eos() const;

 private:
  struct Library;
  SentencePieceModel(std::unique_ptr<Library> library, Vocabulary vocabulary, SentencePieceSpec spec,
                     std::string where);

  std::unique_ptr<Library> library_;
  SentencePieceSpec spec_;
  std::string where_;
};

}  // namespace scalebits
