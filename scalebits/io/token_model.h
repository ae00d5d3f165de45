// SPDX-License-Identifier: Apache-2.0
/// What turns one piece of text into tokens: BPE, unigrams.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "scalebits/io/vocabulary.h"

namespace scalebits {

/// Immutable after construction; encode() may be called from several threads, each with a scratch of its own.
class TokenModel {
 public:
  /// Working memory and word cache of one encode() call of the tokenizer.
  class Scratch {
   public:
    virtual ~Scratch() = default;
  };

  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;

  [[nodiscard]] virtual std::unique_ptr<Scratch> make_scratch() const = 0;
  /// Appends the tokens of one piece, well-formed UTF-8.
  virtual void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const = 0;

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
};

}  // namespace scalebits
