// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/answer_match.h"

#include <algorithm>

namespace scalebits {
namespace {

constexpr std::string_view kMark = "#### ";
constexpr const char* kInvalid = "[invalid]";
constexpr std::string_view kDigits = "0123456789", kNumber = "0123456789.,", kMoney = "$0123456789.,";

/// Length of the longest beginning of `text` made of these characters.
size_t run_of(std::string_view text, std::string_view characters) {
  return std::min(text.find_first_not_of(characters), text.size());
}

/// Length of a number at the beginning of `text` by the flexible pattern; 0 if there is none.
size_t flexible_length(std::string_view text) {
  const size_t sign = text.starts_with('-') ? 1 : 0;
  const size_t money = run_of(text.substr(sign), kMoney);
  if (money >= 2) return sign + money;
  const size_t digits = run_of(text.substr(sign), kDigits);
  return digits > 0 ? sign + digits : 0;
}

std::string normalized(std::string_view answer) {
  const size_t mark = answer.rfind(kMark);
  std::string text;
  for (const char c : mark == std::string_view::npos ? answer : answer.substr(mark + kMark.size())) {
    if (c == ',' || c == '$') continue;
    text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  // `$` also matches before a line end that ends the text.
  const size_t end = text.ends_with('\n') ? text.size() - 1 : text.size();
  if (end > 0 && text[end - 1] == '.') text.erase(end - 1, 1);
  return text;
}

}  // namespace

std::string strict_answer(std::string_view solution) {
  for (size_t at = solution.find(kMark); at != std::string_view::npos; at = solution.find(kMark, at + 1)) {
    const std::string_view number = solution.substr(at + kMark.size());
    const size_t sign = number.starts_with('-') ? 1 : 0, length = run_of(number.substr(sign), kNumber);
    if (length > 0) return std::string(number.substr(0, sign + length));
  }
  return kInvalid;
}

std::string flexible_answer(std::string_view solution) {
  std::string last = kInvalid;
  for (size_t at = 0; at < solution.size();) {
    const size_t length = flexible_length(solution.substr(at));
    if (length > 0) last = solution.substr(at, length);
    at += std::max<size_t>(length, 1);
  }
  return last;
}

bool answers_match(std::string_view answer, std::string_view reference) {
  return normalized(answer) == normalized(reference);
}

}  // namespace scalebits
