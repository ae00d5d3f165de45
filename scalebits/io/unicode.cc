// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

/// Canonical order: marks of one run sorted by class. utf8proc does this by insertion, which is quadratic in the run.
void sort_marks(std::vector<utf8proc_int32_t>& characters) {
  const auto mark_class = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  auto run = characters.begin();
  while (run != characters.end()) {
    if (mark_class(*run) == 0) {
      ++run;
      continue;
    }
    const auto end = std::find_if(run, characters.end(), [&](utf8proc_int32_t c) { return mark_class(c) == 0; });
    std::stable_sort(run, end, [&](utf8proc_int32_t a, utf8proc_int32_t b) { return mark_class(a) < mark_class(b); });
    run = end;
  }
}

}  // namespace

char32_t next_character(std::string_view text, size_t& pos) {
  const size_t length = utf8_length(text[pos]);
  SCALEBITS_DCHECK(pos + length <= text.size());
  char32_t c = static_cast<unsigned char>(text[pos]);
  if (length > 1) c &= 0x7fU >> length;
  for (size_t i = 1; i < length; ++i) c = (c << 6) | (static_cast<unsigned char>(text[pos + i]) & 0x3fU);
  pos += length;
  return c;
}

char32_t previous_character(std::string_view text, size_t& pos) {
  do --pos;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xc0U) == 0x80U);
  size_t start = pos;
  return next_character(text, start);
}

void append_utf8(std::string& out, char32_t character) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(character), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d);
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return c == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

char32_t to_title(char32_t c) { return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))); }

bool is_number(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool is_mark(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

size_t white_space_begin(std::string_view text, size_t end) {
  while (end > 0) {
    size_t begin = end;
    if (!is_white_space(previous_character(text, begin))) break;
    end = begin;
  }
  return end;
}

size_t white_space_end(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t end = begin;
    if (!is_white_space(next_character(text, end))) break;
    begin = end;
  }
  return begin;
}

void append_lower_case(std::string& out, char32_t c) {
  constexpr char32_t kDottedCapitalI = 0x130;  // the one character whose lower case is two
  if (c == kDottedCapitalI) {
    out += "i\xcc\x87";
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

bool is_word(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    case UTF8PROC_CATEGORY_SO:  // circled and squared letters have the property Alphabetic
      return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
             (c >= 0x1f170 && c <= 0x1f189);
    default:
      return c == 0x200c || c == 0x200d;
  }
}

bool is_printable(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

char32_t to_upper(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
char32_t to_lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }

bool is_cased(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

namespace {

/// Any text to a normal form; appends.
void normalize_part(std::string_view text, NormalForm form, std::string& out) {
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool composed = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  constexpr size_t kLongest = 18;  // no character has a longer decomposition (U+FDFA under NFKD)
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const auto c = static_cast<utf8proc_int32_t>(next_character(text, pos));
    std::array<utf8proc_int32_t, kLongest> parts;
    int boundary = 0;
    const auto count = utf8proc_decompose_char(c, parts.data(), kLongest, options, &boundary);
    SCALEBITS_CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(kLongest));
    characters.insert(characters.end(), parts.begin(), parts.begin() + count);
  }
  sort_marks(characters);
  auto length = static_cast<utf8proc_ssize_t>(characters.size());
  if (composed) {
    length = utf8proc_normalize_utf32(characters.data(), length,
                                      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    SCALEBITS_CHECK(length >= 0);
  }
  for (utf8proc_ssize_t i = 0; i < length; ++i) append_utf8(out, static_cast<char32_t>(characters[i]));
}

}  // namespace

/// ASCII is copied. It changes with what follows only, as the first character of a composition, so a part to be
/// normalized begins at the last ASCII character before others and ends before the next one.
std::string normalize(std::string_view text, NormalForm form) {
  // Nothing below U+0300 (first byte 0xcc) changes under NFC, nothing below U+0080 under the others.
  const unsigned char first_changed = form == NormalForm::kNfc ? 0xcc : 0x80;
  const auto changes = [&](size_t at) { return static_cast<unsigned char>(text[at]) >= first_changed; };
  const auto ascii = [&](size_t at) { return static_cast<unsigned char>(text[at]) < 0x80; };
  std::string result;
  result.reserve(text.size());
  size_t done = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    if (!changes(at)) continue;
    size_t begin = at, end = at;
    while (begin > done && !ascii(begin)) --begin;
    while (end < text.size() && !ascii(end)) ++end;
    result.append(text.substr(done, begin - done));
    normalize_part(text.substr(begin, end - begin), form, result);
    done = at = end;
  }
  return result.append(text.substr(done));
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  for (const char byte : bytes) {
    const auto b = static_cast<unsigned char>(byte);
    if (missing_ > 0) {
      if (b >= lowest_ && b <= highest_) {
        partial_[held_++] = byte;
        lowest_ = 0x80, highest_ = 0xbf;
        if (--missing_ == 0) out.append(partial_.data(), held_);
        continue;
      }
      out += kReplacement;  // for what was held; this byte may start a character of its own
      missing_ = 0;
    }
    if (b < 0x80) {
      out += byte;
    } else if (b < 0xc2 || b > 0xf4) {
      out += kReplacement;
    } else {
      partial_[0] = byte, held_ = 1;
      missing_ = static_cast<int>(utf8_length(byte)) - 1;
      // Second bytes that would give an overlong form, a surrogate or more than U+10FFFF are not part of a character.
      lowest_ = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
      highest_ = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
    }
  }
}

void Utf8Stream::finish(std::string& out) {
  if (missing_ > 0) out += kReplacement;
  missing_ = 0;
}

}  // namespace scalebits
