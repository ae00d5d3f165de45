// SPDX-License-Identifier: Apache-2.0
/// Values as text: Python's str(), repr() and json.dumps().
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "scalebits/io/jinja_value.h"
#include "scalebits/io/unicode.h"

namespace scalebits::jinja {
namespace {

/// repr() of a float: the fewest digits that give it back, with an exponent below 1e-4 and from 1e16 on.
std::string float_text(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  const double size = std::abs(x);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), x,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific)
                       .ptr;
  std::string text(buffer.data(), end);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

/// repr() of a string: single quotes, unless it has some and no double ones.
std::string quoted(const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const char32_t c = next_character(text, i);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c)) {
      out += text.substr(start, i - start);
    } else {
      const auto code = static_cast<uint32_t>(c);
      out += code < 0x100     ? fmt::format("\\x{:02x}", code)
             : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                              : fmt::format("\\U{:08x}", code);
    }
  }
  return out + quote;
}

std::string joined(const Values& items, std::string_view open, std::string_view close, Work& work) {
  std::string out(open);
  for (const Value& item : items) out += (out.size() > open.size() ? ", " : "") + to_repr(item, work);
  return out.append(close);
}

std::string json_text(const std::string& text, bool ascii) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const auto code = static_cast<uint32_t>(next_character(text, i));
    constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
    const size_t known = code < 0x80 ? kShort.find(static_cast<char>(code)) : std::string_view::npos;
    if (known != std::string_view::npos) {
      out += {'\\', kLetters[known]};
    } else if (code < 0x20 || (ascii && code >= 0x7f && code < 0x10000)) {
      out += fmt::format("\\u{:04x}", code);
    } else if (ascii && code >= 0x10000) {
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + ((code - 0x10000) >> 10), 0xdc00 + ((code - 0x10000) & 0x3ff));
    } else {
      out += text.substr(start, i - start);
    }
  }
  return out + '"';
}

class JsonPrinter {
 public:
  JsonPrinter(const JsonStyle& style, Work& work) : style_(style), work_(work) {}
  std::string print(const Value& value, size_t level) {
    work_.spend(kStepWork);
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.truth() ? "true" : "false";
    if (value.is_integer()) return std::to_string(value.integer());
    if (value.is_float()) return number(value.number());
    if (value.text() != nullptr) return json_text(*value.text(), style_.ascii);
    if (value.dict() != nullptr) return object(*value.dict(), level);
    const Sequence* s = value.sequence();
    if (s == nullptr || (s->form != Sequence::Form::kList && s->form != Sequence::Form::kTuple)) {
      wrong("tojson: got {}, which JSON does not have.",
            value.is_undefined() ? value.undefined()->what : fmt::format("a {}", value.type_name()));
    }
    std::vector<std::string> parts;
    for (const Value& item : s->items) parts.push_back(print(item, level + 1));
    return put_together(parts, '[', ']', level);
  }

 private:
  static std::string number(double x) {
    if (std::isnan(x)) return "NaN";
    return std::isinf(x) ? (x < 0 ? "-Infinity" : "Infinity") : float_text(x);
  }
  std::string object(const Dict& dict, size_t level) {
    auto members = dict.members;
    if (style_.sorted) std::ranges::stable_sort(members, {}, [](const auto& member) { return member.first; });
    std::vector<std::string> parts;
    for (const auto& [key, value] : members) {
      parts.push_back(json_text(key, style_.ascii) + style_.colon + print(value, level + 1));
    }
    return put_together(parts, '{', '}', level);
  }
  std::string put_together(const std::vector<std::string>& parts, char open, char close, size_t level) {
    std::string out(1, open);
    const auto new_line = [&](size_t at) {
      if (!style_.lines) return;
      out += '\n';
      for (size_t i = 0; i < at; ++i) out += style_.indent;
    };
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) out += style_.comma;
      new_line(level + 1);
      out += parts[i];
    }
    if (!parts.empty()) new_line(level);
    out += close;
    work_.spend(out.size());
    return out;
  }

  const JsonStyle& style_;
  Work& work_;
};

}  // namespace

std::string to_text(const Value& value, Work& work) {
  if (value.text() == nullptr) return value.is_undefined() ? "" : to_repr(value, work);
  work.spend(value.text()->size());
  return *value.text();
}

std::string to_repr(const Value& value, Work& work) {
  work.spend(kStepWork);
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.truth() ? "True" : "False";
  if (value.is_integer()) return std::to_string(value.integer());
  if (value.is_float()) return float_text(value.number());
  std::string out;
  const Sequence* s = value.sequence();
  if (value.text() != nullptr) {
    out = quoted(*value.text());
  } else if (const Dict* dict = value.dict()) {
    for (const auto& [key, item] : dict->members) {
      out += (out.empty() ? "" : ", ") + quoted(key) + ": " + to_repr(item, work);
    }
    out = "{" + out + "}";
  } else if (s != nullptr && s->form == Sequence::Form::kList) {
    out = joined(s->items, "[", "]", work);
  } else if (s != nullptr && s->form == Sequence::Form::kTuple) {
    out = joined(s->items, "(", s->items.size() == 1 ? ",)" : ")", work);
  } else {
    unsupported("output: got a {}, expected text, numbers, lists and dicts.", value.type_name());
  }
  work.spend(out.size());
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style, Work& work) {
  return JsonPrinter(style, work).print(value, 0);
}

}  // namespace scalebits::jinja
