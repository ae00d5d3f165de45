// SPDX-License-Identifier: Apache-2.0
/// Regular expressions of tokenizer.json: written for Oniguruma, matched by PCRE2 (UTF, Unicode properties, JIT).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/component.h"

namespace scalebits {

/// A compiled pattern; may be used from several threads.
class Regex {
 public:
  struct Span {
    size_t begin, end;
  };

  /// @param pattern Oniguruma syntax, or the text itself when `literal`
  /// @param where   names the file and key in errors
  /// @throws FormatError on a malformed pattern, Unsupported on a construct that PCRE2 reads differently
  Regex(std::string_view pattern, bool literal, std::string where);

  /// All matches, left to right, none overlapping; an empty match directly behind another match is left out.
  /// @param text well-formed UTF-8
  /// @throws FormatError when a match takes more steps or memory than any sane pattern needs
  [[nodiscard]] std::vector<Span> find_all(std::string_view text) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string where_;
};

/// `{"String": ...}` or `{"Regex": ...}`, as Replace and Split have it.
Regex read_pattern(const Component& pattern);

/// The PCRE2 pattern that means what `pattern` means to Oniguruma. @throws Unsupported naming the construct
std::string pcre2_pattern(std::string_view pattern, const std::string& where);

}  // namespace scalebits
