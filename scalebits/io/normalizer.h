// SPDX-License-Identifier: Apache-2.0
/// The normalizer of tokenizer.json: what is done to the text before it is cut into pieces.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "scalebits/io/characters_map.h"
#include "scalebits/io/component.h"
#include "scalebits/io/regex.h"
#include "scalebits/io/unicode.h"

namespace scalebits {

/// Replaces every match of a pattern; also a step of decoders.
class Replace {
 public:
  explicit Replace(const Component& component);
  /// @throws FormatError when the result would have more than `max_bytes`
  [[nodiscard]] std::string apply(std::string_view text, size_t max_bytes) const;

 private:
  Regex pattern_;
  std::string content_;
  std::string where_;
};

/// No text, given or normalized, may be longer: positions are 32-bit inside the merge loop.
constexpr size_t kMaxTextBytes = (size_t{1} << 31) - 1;

/// Null, Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents.
class Normalizer {
 public:
  Normalizer() = default;
  /// @throws FormatError, Unsupported (names the normalizer)
  explicit Normalizer(const Component& component);
  /// Puts a step of SentencePiece's before all others.
  void put_first(CharactersMap map) { steps_.insert(steps_.begin(), std::move(map)); }
  [[nodiscard]] bool is_identity() const { return steps_.empty(); }
  /// @throws FormatError when a few steps in a row blow the text up beyond any sane use
  [[nodiscard]] std::string apply(std::string_view text) const;

 private:
  struct Prepend {
    std::string text;
  };
  struct Lowercase {};
  struct Strip {
    bool left, right;
  };
  struct StripAccents {};
  using Step = std::variant<Prepend, Replace, NormalForm, Lowercase, Strip, StripAccents, CharactersMap>;
  void read(const Component& component, int depth);
  static std::string apply(const Step& step, std::string text, size_t max_bytes);

  std::vector<Step> steps_;
};

}  // namespace scalebits
