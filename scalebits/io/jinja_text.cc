// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/jinja_text.h"

#include <algorithm>
#include <charconv>

#include "scalebits/io/unicode.h"

namespace scalebits::jinja {
namespace {

template <class Change>
std::string changed(std::string_view text, const Change& change) {
  std::string out;
  for (size_t i = 0; i < text.size();) append_utf8(out, change(next_character(text, i)));
  return out;
}

/// The letters of a word: the first in upper case, the others in lower case. A word ends where `ends` says so.
template <class Ends>
std::string titled(std::string_view text, const Ends& ends) {
  bool inside = false;
  return changed(text, [&](char32_t c) {
    const char32_t result = inside ? to_lower(c) : to_upper(c);
    inside = !ends(c);
    return result;
  });
}

std::vector<std::string> split_at_space(std::string_view text, int64_t most, bool from_right) {
  std::vector<std::string> parts;
  for (;;) {
    text = strip(text, from_right ? Side::kRight : Side::kLeft);
    if (text.empty()) break;
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.emplace_back(text);
      break;
    }
    size_t pos = from_right ? text.size() : 0;
    while (from_right ? pos > 0 : pos < text.size()) {
      size_t next = pos;
      if (is_space(from_right ? previous_character(text, next) : next_character(text, next))) break;
      pos = next;
    }
    parts.emplace_back(from_right ? text.substr(pos) : text.substr(0, pos));
    text = from_right ? text.substr(0, pos) : text.substr(pos);
  }
  if (from_right) std::ranges::reverse(parts);
  return parts;
}

std::string_view digits_of(std::string_view text) {
  text = strip(text, Side::kBoth);
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  return text;
}

}  // namespace

bool is_space(char32_t c) { return is_white_space(c) || (c >= 0x1c && c <= 0x1f); }

std::string_view strip(std::string_view text, Side side, const std::optional<std::string>& set) {
  const auto drops = [&](std::string_view rest, size_t start, size_t end, char32_t c) {
    return set ? set->find(rest.substr(start, end - start)) != std::string::npos : is_space(c);
  };
  while (side != Side::kRight && !text.empty()) {
    size_t end = 0;
    const char32_t c = next_character(text, end);
    if (!drops(text, 0, end, c)) break;
    text.remove_prefix(end);
  }
  while (side != Side::kLeft && !text.empty()) {
    size_t start = text.size();
    const char32_t c = previous_character(text, start);
    if (!drops(text, start, text.size(), c)) break;
    text = text.substr(0, start);
  }
  return text;
}

int64_t count_characters(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; });
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text[i]);
    result.push_back(text.substr(i, length));
    i += length;
  }
  return result;
}

bool has_cased(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (is_cased(next_character(text, i))) return true;
  }
  return false;
}

std::string upper(std::string_view text) { return changed(text, to_upper); }
std::string lower(std::string_view text) { return changed(text, to_lower); }

std::string capitalize(std::string_view text) {
  return titled(text, [](char32_t) { return false; });
}

std::string title(std::string_view text) {
  return titled(text, [](char32_t c) { return !is_cased(c); });
}

std::string title_words(std::string_view text) {
  return titled(text, [](char32_t c) {
    return is_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) != std::string_view::npos);
  });
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t most) {
  std::string out;
  int64_t done = 0;
  if (from.empty()) {  // between all characters, and at both ends
    for (const std::string_view c : characters(text)) {
      if (most < 0 || done < most) out += to;
      ++done;
      out += c;
    }
    if (most < 0 || done < most) out += to;
    return out;
  }
  for (; most < 0 || done < most; ++done) {
    const size_t at = text.find(from);
    if (at == std::string_view::npos) break;
    out.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
  }
  return out.append(text);
}

std::vector<std::string> split(std::string_view text, const std::optional<std::string>& separator, int64_t most,
                               bool from_right) {
  if (!separator) return split_at_space(text, most, from_right);
  std::vector<std::string> parts;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t at = from_right ? text.rfind(*separator) : text.find(*separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(from_right ? text.substr(at + separator->size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + separator->size());
  }
  parts.emplace_back(text);
  if (from_right) std::ranges::reverse(parts);
  return parts;
}

std::vector<std::string> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  const auto ends_line = [](char32_t c) {
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  for (size_t start = 0; start < text.size();) {
    size_t end = start, next = start;
    while (next < text.size()) {
      end = next;
      const char32_t c = next_character(text, next);
      if (!ends_line(c)) {
        end = next;
        continue;
      }
      if (c == '\r' && next < text.size() && text[next] == '\n') ++next;
      break;
    }
    lines.emplace_back(text.substr(start, (keep_ends ? next : end) - start));
    start = next;
  }
  return lines;
}

std::vector<size_t> slice(size_t length, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step) {
  const auto n = static_cast<int64_t>(length);
  const auto bounded = [&](std::optional<int64_t> index, int64_t fallback) {
    if (!index) return fallback;
    const int64_t counted = *index < 0 ? std::max(*index, -n - 1) + n : std::min(*index, n);
    return step > 0 ? std::clamp<int64_t>(counted, 0, n) : std::clamp<int64_t>(counted, -1, n - 1);
  };
  const int64_t first = bounded(start, step > 0 ? 0 : n - 1), end = bounded(stop, step > 0 ? n : -1);
  const int64_t stride = std::clamp(step, -n - 1, n + 1);  // beyond the other end either way, and never overflows
  std::vector<size_t> indices;
  for (int64_t i = first; step > 0 ? i < end : i > end; i += stride) indices.push_back(static_cast<size_t>(i));
  return indices;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  const std::string_view digits = digits_of(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_number(std::string_view text) {
  const std::string_view digits = digits_of(text);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace scalebits::jinja
