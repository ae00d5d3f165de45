// SPDX-License-Identifier: Apache-2.0
/// Oniguruma's dialect in PCRE2's words. What both read alike is copied, what differs is rewritten, what cannot be
/// rewritten is refused: a pattern that is silently misread would cut text at wrong places.
#include <string>
#include <string_view>

#include "scalebits/base/errors.h"
#include "scalebits/io/regex.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

/// Oniguruma's table counts the superscripts and fractions of Latin-1 as word characters, and no others.
constexpr std::string_view kWordMembers = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
constexpr std::string_view kHexMembers = "0-9a-fA-F";

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    while (pos_ < in_.size()) {
      const char c = in_[pos_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_member();
      } else if (c == '[') {
        open_class();
      } else if (c == '(') {
        open_group();
      } else if (c == '{') {
        interval();
      } else {
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view construct) const {
    fail<Unsupported>(where_,
                      "pattern: got {} at byte {} of {}, expected a construct that Oniguruma and PCRE2 read alike.",
                      construct, pos_, quote(in_, 200));
  }
  [[nodiscard]] bool ahead(std::string_view text) const { return in_.substr(pos_).starts_with(text); }
  void copy(size_t count) {
    out_ += in_.substr(pos_, count);
    pos_ += count;
  }
  void put(std::string_view text, size_t consumed) {
    out_ += text;
    pos_ += consumed;
  }
  /// A class, or its members inside of one.
  void put_members(std::string_view members) {
    put(in_class_ ? std::string(members) : fmt::format("[{}]", members), 2);
  }
  void put_complement(std::string_view members) {
    if (in_class_) refuse("a negated class escape inside a class");
    put(fmt::format("[^{}]", members), 2);
  }

  void open_class() {
    in_class_ = true;
    copy(1);
    if (ahead("^")) copy(1);
    if (ahead("]")) refuse("a class that starts with ]");
  }

  void class_member() {
    if (in_[pos_] == '[') refuse("a class inside a class");
    if (ahead("&&")) refuse("a class intersection");
    if (in_[pos_] == ']') in_class_ = false;
    copy(1);
  }

  void open_group() {
    if (ahead("(*")) refuse("(*");
    if (!ahead("(?")) return copy(1);
    if (pos_ == 0 && ahead("(?i)")) return copy(4);  // elsewhere Oniguruma ends its reach at another place
    for (const std::string_view known : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (ahead(known)) return copy(known.size());
    }
    refuse(fmt::format("the group {}", quote(in_.substr(pos_, 4))));
  }

  void interval() {
    const size_t end = in_.find('}', pos_);
    if (end == std::string_view::npos) return copy(1);
    if (ahead("{,")) refuse("an interval without a lower end");
    copy(end + 1 - pos_);
    if (ahead("+")) refuse("an interval followed by +");  // possessive to PCRE2, a second repetition to Oniguruma
  }

  void escape() {
    if (pos_ + 1 == in_.size()) refuse("a backslash at the end");
    switch (const char c = in_[pos_ + 1]) {
      case 's':
        return put(R"(\p{White_Space})", 2);  // PCRE2's own \s also takes U+180E
      case 'S':
        return put(R"(\P{White_Space})", 2);
      case 'd':
        return put(R"(\p{Nd})", 2);
      case 'D':
        return put(R"(\P{Nd})", 2);
      case 'w':
        return put_members(kWordMembers);
      case 'W':
        return put_complement(kWordMembers);
      case 'h':
        return put_members(kHexMembers);
      case 'H':
        return put_complement(kHexMembers);
      case 'v':
        return put(R"(\x0b)", 2);
      case 'p':
      case 'P':
        return property();
      case 'x':
      case 'u':
        return code_point();
      case 'r':
      case 'n':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        return copy(2);
      default: {
        const bool punctuation = c > ' ' && c < 0x7f && !isalnum(static_cast<unsigned char>(c));
        const bool anchor = !in_class_ && (c == 'A' || c == 'z');
        if (!punctuation && !anchor) refuse(fmt::format("the escape {}", quote(in_.substr(pos_, 2))));
        return copy(2);
      }
    }
  }

  void property() {
    bool negated = in_[pos_ + 1] == 'P';
    const size_t end = in_.find('}', pos_);
    if (pos_ + 2 >= in_.size() || in_[pos_ + 2] != '{' || end == std::string_view::npos)
      refuse("a property without {}");
    std::string_view name = in_.substr(pos_ + 3, end - pos_ - 3);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (name.empty() || name.find_first_of("\\^=:&") != std::string_view::npos) refuse("an odd property name");
    // One or two letters are a general category; PCRE2 reads a bare script name as Script_Extensions.
    put(fmt::format(R"(\{}{{{}{}}})", negated ? 'P' : 'p', name.size() > 2 ? "sc:" : "", name), end + 1 - pos_);
  }

  void code_point() {
    size_t begin = pos_ + 2;
    size_t end = begin + (in_[pos_ + 1] == 'u' ? 4 : 2);
    const bool braced = in_[pos_ + 1] == 'x' && begin < in_.size() && in_[begin] == '{';
    if (braced) {
      ++begin;
      end = in_.find('}', begin);
    }
    if (end == std::string_view::npos || end > in_.size() || end == begin || end - begin > 8)
      refuse("an odd code point");
    const std::string_view digits = in_.substr(begin, end - begin);
    if (digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) refuse("an odd code point");
    // Two digits without braces are a byte to Oniguruma, a character to PCRE2: the same below 0x80 only.
    if (in_[pos_ + 1] == 'x' && !braced && digits[0] > '7') refuse("a byte escape above 7f");
    put(fmt::format(R"(\x{{{}}})", digits), end + (braced ? 1 : 0) - pos_);
  }

  std::string_view in_;
  const std::string& where_;
  std::string out_;
  size_t pos_ = 0;
  bool in_class_ = false;
};

}  // namespace

std::string pcre2_pattern(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace scalebits
