// SPDX-License-Identifier: Apache-2.0
/// The pre_tokenizer of tokenizer.json: cuts normalized text into the pieces inside which BPE merges.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "scalebits/io/component.h"
#include "scalebits/io/regex.h"

namespace scalebits {

/// What becomes of the matches ("delimiters") of a split.
enum class SplitBehavior { kIsolated, kRemoved, kContiguous, kMergedWithPrevious, kMergedWithNext };

/// Null, or a Sequence of Split, Digits, ByteLevel and Metaspace.
class PreTokenizer {
 public:
  /// Views into the text that was cut, or into `changed`.
  struct Pieces {
    std::vector<std::string_view> views;
    std::deque<std::string> changed;
  };

  PreTokenizer() = default;
  /// @throws FormatError, Unsupported (names the component)
  explicit PreTokenizer(const Component& component);

  /// @param text     one stretch between added tokens; the pieces refer to it
  /// @param at_start whether it is the beginning of the whole input (Metaspace's scheme "first")
  [[nodiscard]] Pieces split(std::string_view text, bool at_start) const;
  /// Whether BPE is to work on bytes, each written as the character that byte_level_character() gives.
  [[nodiscard]] bool byte_level() const { return byte_level_; }

 private:
  struct Split {
    Regex pattern;
    SplitBehavior behavior;
    bool invert;
    void apply(Pieces& pieces) const;
  };
  struct Digits {
    bool individual;
    void apply(Pieces& pieces) const;
  };
  struct ByteLevel {
    bool add_prefix_space;
    std::optional<Regex> pattern;
    void apply(Pieces& pieces) const;
  };
  enum class Prepend { kAlways, kFirst, kNever };
  struct Metaspace {
    std::string replacement;  ///< one character
    Prepend prepend;
    bool split;
    void apply(Pieces& pieces) const;
  };

  void read(const Component& component, int depth);
  void read_metaspace(const Component& component);

  std::vector<std::variant<Split, Digits, ByteLevel, Metaspace>> steps_;
  bool byte_level_ = false;
};

/// GPT-2's printable stand-in for a byte: itself for printable Latin-1, U+0100 and up in order for the others.
char32_t byte_level_character(unsigned char byte);
/// The byte a character stands for, or -1.
int byte_level_byte(char32_t character);

}  // namespace scalebits
