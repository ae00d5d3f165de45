// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/python_text.h"

#include <algorithm>

#include "scalebits/io/unicode.h"

namespace scalebits {
namespace {

/// str.isspace: White_Space, and the four separators of ASCII that Unicode does not count.
bool is_python_space(char32_t c) { return is_white_space(c) || (c >= 0x1c && c <= 0x1f); }

}  // namespace

std::string_view python_rstrip(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t before = end;
    if (!is_python_space(previous_character(text, before))) break;
    end = before;
  }
  return text.substr(0, end);
}

std::string_view python_strip(std::string_view text) {
  size_t begin = 0;
  while (begin < text.size()) {
    size_t next = begin;
    if (!is_python_space(next_character(text, next))) break;
    begin = next;
  }
  return python_rstrip(text.substr(begin));
}

std::string python_capitalize(std::string_view text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const bool first = at == 0;
    const char32_t c = next_character(text, at);
    append_utf8(result, first ? to_title(c) : to_lower(c));
  }
  return result;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (;;) {
    const size_t found = text.find(from);
    result += text.substr(0, found);
    if (found == std::string_view::npos) return result;
    result += to;
    text.remove_prefix(found + from.size());
  }
}

int64_t python_length(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

}  // namespace scalebits
