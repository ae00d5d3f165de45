// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/jinja_lexer.h"

#include <algorithm>
#include <array>

#include "scalebits/io/jinja_strings.h"
#include "scalebits/io/jinja_text.h"
#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits::jinja {
namespace {

/// Longer ones first.
constexpr std::array<std::string_view, 29> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*",
                                                         "%",  "~",  "[",  "]",  "(",  ")",  "{", "}", ">", "<",
                                                         "=",  ".",  ":",  "|",  ",",  ";",  "!", "@", "#"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    try {
      while (pos_ < source_.size()) read_text();
    } catch (Problem& problem) {
      throw SyntaxProblem{std::move(problem), line_};
    }
    add(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] std::string_view rest() const { return source_.substr(pos_); }
  [[nodiscard]] bool at(std::string_view text) const { return rest().starts_with(text); }
  void add(Token::Kind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }

  void skip(size_t count) {
    line_ += static_cast<int>(std::ranges::count(source_.substr(pos_, count), '\n'));
    pos_ += count;
  }
  void skip_space() { skip(rest().size() - strip(rest(), Side::kLeft).size()); }

  /// A sign behind an opening tag, or before a closing one.
  [[nodiscard]] char sign_at(size_t pos) const {
    return pos < source_.size() && (source_[pos] == '-' || source_[pos] == '+') ? source_[pos] : ' ';
  }

  /// Text up to the next tag, and the tag. `begin` is where the text begins, `tag` where the tag is.
  void emit_text(size_t begin, size_t tag, bool lstrip) {
    std::string_view text = source_.substr(begin, tag - begin);
    const char sign = sign_at(tag + 2);
    if (sign == '-') {
      text = strip(text, Side::kRight);
    } else if (sign != '+' && lstrip) {
      const size_t line_start = text.rfind('\n') + 1;  // 0 when there is none
      const std::string_view indent = text.substr(line_start);
      if ((line_start > 0 || line_starting_) && strip(indent, Side::kLeft).empty()) text = text.substr(0, line_start);
    }
    if (!text.empty()) add(Token::Kind::kText, std::string(text));
    skip(tag - begin);
  }

  void read_text() {
    size_t tag = pos_;
    while (tag < source_.size() && (source_[tag] != '{' || std::string_view("{%#").find(next_to(tag)) == npos)) ++tag;
    if (tag >= source_.size()) {
      add(Token::Kind::kText, std::string(rest()));
      pos_ = source_.size();
      return;
    }
    const char kind = next_to(tag);
    emit_text(pos_, tag, kind != '{');
    skip(2);
    if (kind == '#') return read_comment();
    if (kind == '%' && read_raw()) return;
    if (sign_at(pos_) != ' ') skip(1);
    add(kind == '{' ? Token::Kind::kOutputBegin : Token::Kind::kBlockBegin, "");
    line_starting_ = false;
    read_tag(kind == '{');
  }

  /// The character behind `pos`, one that is no tag's at the end.
  [[nodiscard]] char next_to(size_t pos) const { return pos + 1 < source_.size() ? source_[pos + 1] : ' '; }

  void read_comment() {
    if (sign_at(pos_) != ' ') skip(1);
    const size_t end = source_.find("#}", pos_);
    if (end == npos) wrong("comment: got no end of it, expected #}}.");
    const char sign = end > pos_ ? source_[end - 1] : ' ';
    skip(end - pos_);
    end_tag(sign, true);
  }

  /// Behind the sign of a closing tag; a sign before it was read.
  void end_tag(char sign, bool trims) {
    const size_t start = pos_;
    skip(2);
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && trims && at("\n")) {
      skip(1);
    }
    line_starting_ = source_.substr(start, pos_ - start).ends_with('\n');
  }

  /// {% raw %} to {% endraw %}. False, and nothing read, when it is another tag.
  bool read_raw() {
    const auto word = [&](size_t from, std::string_view name) -> size_t {  // where `name %}` ends, before %}; or npos
      const std::string_view inside = strip(source_.substr(from + (sign_at(from) != ' ' ? 1 : 0)), Side::kLeft);
      if (!inside.starts_with(name)) return npos;
      const std::string_view close = strip(inside.substr(name.size()), Side::kLeft);
      const size_t where = source_.size() - close.size();
      if (close.starts_with("%}")) return where;
      return close.starts_with("-%}") || close.starts_with("+%}") ? where + 1 : npos;
    };
    size_t close = word(pos_, "raw");
    if (close == npos) return false;
    skip(close - pos_);
    end_tag(source_[close - 1] == '-' ? '-' : '+', false);
    const size_t begin = pos_;
    for (size_t tag = source_.find("{%", begin); tag != npos; tag = source_.find("{%", tag + 1)) {
      close = word(tag + 2, "endraw");
      if (close == npos) continue;
      emit_text(begin, tag, true);
      skip(close - pos_);
      end_tag(source_[close - 1], true);
      return true;
    }
    wrong("raw block: got no end of it, expected {{% endraw %}}.");
  }

  void read_tag(bool output) {
    const std::string_view close = output ? "}}" : "%}";
    std::string open;  // brackets that wait for their other half
    for (;;) {
      skip_space();
      if (pos_ >= source_.size()) wrong("tag: got no end of it, expected {}.", close);
      if (open.empty()) {
        const char sign = output && at("+") ? ' ' : sign_at(pos_);
        if (source_.substr(pos_ + (sign != ' ' ? 1 : 0)).starts_with(close)) {
          if (sign != ' ') skip(1);
          add(output ? Token::Kind::kOutputEnd : Token::Kind::kBlockEnd, "");
          return end_tag(sign, !output);
        }
      }
      read_token(open);
    }
  }

  void read_token(std::string& open) {
    const char c = source_[pos_];
    if (is_digit(c)) return read_number();
    if (starts_name(c)) {
      size_t end = pos_;
      while (end < source_.size() && (starts_name(source_[end]) || is_digit(source_[end]))) ++end;
      add(Token::Kind::kName, std::string(source_.substr(pos_, end - pos_)));
      return skip(end - pos_);
    }
    if (c == '"' || c == '\'') {
      const size_t length = quoted_length(rest());
      if (length == npos) wrong("string: got no end of it, expected {}.", c);
      add(Token::Kind::kString, unescaped(rest().substr(1, length - 2)));
      return skip(length);
    }
    const auto found = std::ranges::find_if(kOperators, [&](std::string_view op) { return at(op); });
    if (found == kOperators.end()) wrong("character: got {} inside a tag.", quote(rest().substr(0, utf8_length(c))));
    balance(open, c);
    add(Token::Kind::kOperator, std::string(*found));
    skip(found->size());
  }

  static void balance(std::string& open, char c) {
    constexpr std::string_view kOpen = "{([", kClose = "})]";
    if (kOpen.find(c) != npos) open += kClose[kOpen.find(c)];
    if (kClose.find(c) == npos) return;
    if (open.empty() || open.back() != c) {
      wrong("brackets: got '{}', expected {}.", c, open.empty() ? "none" : fmt::format("'{}'", open.back()));
    }
    open.pop_back();
  }

  void read_number() {
    const NumberShape shape = number_shape(rest());
    add(shape.is_float ? Token::Kind::kFloat : Token::Kind::kInteger, std::string(rest().substr(0, shape.length)));
    skip(shape.length);
  }

  static constexpr size_t npos = std::string_view::npos;
  std::string_view source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // whether what was read last ended a line
  std::vector<Token> tokens_;
};

/// Line ends of all kinds become \n, as Jinja reads its source.
std::string with_newlines(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    out += text[i] == '\r' ? '\n' : text[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

}  // namespace

std::vector<Token> tokenize(std::string_view text) {
  const std::string source = with_newlines(text);
  return Lexer(source).run();
}

}  // namespace scalebits::jinja
