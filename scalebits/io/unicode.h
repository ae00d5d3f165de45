// SPDX-License-Identifier: Apache-2.0
/// UTF-8 and the few Unicode properties a tokenizer needs; tables and normal forms are utf8proc's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace scalebits {

/// Bytes of the character that starts with `lead`, in well-formed UTF-8.
constexpr size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}
/// The character at `pos` of well-formed UTF-8; `pos` moves behind it.
char32_t next_character(std::string_view text, size_t& pos);
/// The character that ends before `pos` > 0 of well-formed UTF-8; `pos` moves to its start.
char32_t previous_character(std::string_view text, size_t& pos);
void append_utf8(std::string& out, char32_t character);

bool is_white_space(char32_t c);  ///< property White_Space
bool is_number(char32_t c);       ///< general category Nd, Nl or No
bool is_mark(char32_t c);         ///< general category Mn, Mc or Me
bool is_word(char32_t c);         ///< what `\w` is to the reference: letters, marks, digits, connectors, joiners
bool is_printable(char32_t c);    ///< what Python's str.isprintable() says of one character
char32_t to_upper(char32_t c);    ///< simple case mappings: one character for one
char32_t to_lower(char32_t c);
char32_t to_title(char32_t c);
bool is_cased(char32_t c);  ///< upper, lower or title case

/// Start of the white space that ends at `end`; end of the white space that starts at `begin`.
size_t white_space_begin(std::string_view text, size_t end);
size_t white_space_end(std::string_view text, size_t begin);
/// Appends the lower case of one character, whatever is around it (a final sigma is not looked for).
void append_lower_case(std::string& out, char32_t c);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
/// @param text well-formed UTF-8; time is O(n log n) also for endless runs of combining marks
std::string normalize(std::string_view text, NormalForm form);

/// Turns bytes into well-formed UTF-8 as they come: each maximal part of an ill-formed sequence becomes one U+FFFD
/// (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts"; the same as Python's errors="replace").
class Utf8Stream {
 public:
  /// Appends to `out` what became certain.
  void push(std::string_view bytes, std::string& out);
  /// No more bytes will come.
  void finish(std::string& out);

 private:
  std::array<char, 4> partial_{};
  int held_ = 0, missing_ = 0;
  unsigned char lowest_ = 0, highest_ = 0;  // what the next byte may be
};

}  // namespace scalebits
