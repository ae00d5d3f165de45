// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/jinja_strings.h"

#include <charconv>

#include "scalebits/io/jinja_limits.h"
#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Appends the character that `digits` of base `base` name.
void append_code(std::string& out, std::string_view digits, size_t expected, int base) {
  uint32_t code = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
  if (digits.size() != expected || error != std::errc() || end != digits.data() + digits.size()) {
    wrong("string: got the escape digits {}, expected {} of base {}.", quote(digits), expected, base);
  }
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
    unsupported("string: got an escape for U+{:04X}, expected a Unicode character.", code);
  }
  append_utf8(out, static_cast<char32_t>(code));
}

/// Digits at the start, with single underscores between.
size_t digits_length(std::string_view text) {
  size_t n = 0;
  while (n < text.size() &&
         (is_digit(text[n]) || (n > 0 && text[n] == '_' && n + 1 < text.size() && is_digit(text[n + 1])))) {
    ++n;
  }
  return n;
}

}  // namespace

size_t quoted_length(std::string_view text) {
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == text[0]) {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

std::string unescaped(std::string_view text) {
  constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char c = text[++i];
    const size_t known = kLetters.find(c);
    if (known != std::string_view::npos) {
      out += kMeanings[known];
    } else if (c == '\n') {  // the line goes on
      continue;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      append_code(out, text.substr(i + 1, count), count, 16);
      i += count;
    } else if (c >= '0' && c <= '7') {
      size_t count = 1;
      while (count < 3 && i + count < text.size() && text[i + count] >= '0' && text[i + count] <= '7') ++count;
      append_code(out, text.substr(i, count), count, 8);
      i += count - 1;
    } else if (c == 'N') {
      unsupported("string: got the escape \\N, expected a character by its code (\\u).");
    } else {  // not an escape
      out += {'\\', c};
    }
  }
  return out;
}

NumberShape number_shape(std::string_view text) {
  if (text.size() > 1 && text[0] == '0' && std::string_view("xXoObB").find(text[1]) != std::string_view::npos) {
    unsupported("number: got {}, expected decimal digits.", quote(text.substr(0, 2)));
  }
  NumberShape shape{.length = digits_length(text)};
  const auto digits_at = [&](size_t pos) { return pos < text.size() ? digits_length(text.substr(pos)) : 0; };
  if (shape.length < text.size() && text[shape.length] == '.') {
    const size_t fraction = digits_at(shape.length + 1);
    if (fraction > 0) shape = {shape.length + 1 + fraction, true};
  }
  if (shape.length < text.size() && (text[shape.length] == 'e' || text[shape.length] == 'E')) {
    const size_t sign =
        shape.length + 1 < text.size() && (text[shape.length + 1] == '-' || text[shape.length + 1] == '+');
    const size_t exponent = digits_at(shape.length + 1 + sign);
    if (exponent > 0) shape = {shape.length + 1 + sign + exponent, true};
  }
  return shape;
}

}  // namespace scalebits::jinja
