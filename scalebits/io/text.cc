// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/text.h"

#include <cstdint>
#include <cstring>
#include <numeric>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/json.h"

namespace scalebits {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kWhiteSpace = " \t\n\r\f\v";

bool is_continuation(std::string_view text, size_t i) {
  return i < text.size() && (static_cast<uint8_t>(text[i]) & 0xc0U) == 0x80U;
}

/// Length of the well-formed character at `i`, or 0. Table 3-7 of the Unicode standard: the second byte's range is
/// narrower after E0 and F0 (overlong), ED (surrogates) and F4 (above U+10FFFF).
size_t utf8_length(std::string_view text, size_t i) {
  const auto lead = static_cast<uint8_t>(text[i]);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4 || !is_continuation(text, i + 1)) return 0;
  if (lead < 0xe0) return 2;
  const auto second = static_cast<uint8_t>(text[i + 1]);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 0;
  if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 0;
  if (!is_continuation(text, i + 2)) return 0;
  if (lead < 0xf0) return 3;
  return is_continuation(text, i + 3) ? 4 : 0;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kWhiteSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kWhiteSpace) + 1 - begin);
}

std::vector<std::string> split_jsonl(std::string_view text, const std::string& where) {
  std::vector<std::string> documents;
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty()) continue;
    const std::string line_name = fmt::format("{}:{}", where, number);
    Json record = parse_json(line, line_name);
    if (!record.is_object()) fail<FormatError>(line_name, "line: got {}, expected an object.", record.type_name());
    const auto field = record.find("text");
    if (field == record.end()) fail<FormatError>(line_name, "text: missing, expected a string.");
    if (!field->is_string()) fail<FormatError>(line_name, "text: got {}, expected a string.", field->type_name());
    documents.push_back(std::move(field->get_ref<std::string&>()));
  }
  return documents;
}

std::vector<std::string> split_plain(std::string_view text, std::string_view separator) {
  if (separator.empty()) return {std::string(text)};
  std::vector<std::string> documents;
  for (;;) {
    const size_t end = text.find(separator);
    const std::string_view piece = trimmed(text.substr(0, end));
    if (!piece.empty()) documents.emplace_back(piece);
    if (end == std::string_view::npos) return documents;
    text.remove_prefix(end + separator.size());
  }
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    uint64_t word = 0;
    if (text.size() - i >= sizeof(word)) {
      std::memcpy(&word, text.data() + i, sizeof(word));
      if ((word & 0x8080808080808080ULL) == 0) {  // eight ASCII characters
        i += sizeof(word);
        continue;
      }
    }
    const size_t length = utf8_length(text, i);
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

std::string quote(std::string_view text, size_t max_bytes) {
  std::string result = "\"";
  for (const char c : text.substr(0, max_bytes)) {
    if (c == '\n') {
      result += "\\n";
    } else if (static_cast<uint8_t>(c) < 0x20 || static_cast<uint8_t>(c) >= 0x7f) {
      result += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    } else {
      result += c;
    }
  }
  return result + (text.size() > max_bytes ? "...\"" : "\"");
}

std::vector<std::string> read_documents(const std::filesystem::path& path, std::string_view separator) {
  const std::string where = path.string();
  const std::string content = read_text_file(path);
  const size_t bad = find_invalid_utf8(content);
  if (bad != std::string_view::npos) {
    const bool utf16 = content.starts_with("\xff\xfe") || content.starts_with("\xfe\xff");
    fail<FormatError>(where, "byte {}: got {:#04x}, which is not part of UTF-8 text.{}", bad,
                      static_cast<uint8_t>(content[bad]),
                      utf16 ? " Is it UTF-16? Convert it to UTF-8." : " Is it another encoding, or compressed?");
  }
  std::string_view text = content;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (text.empty()) fail<FormatError>(where, "text: got an empty file, expected at least one document.");
  auto documents = path.extension() == ".jsonl" ? split_jsonl(text, where) : split_plain(text, separator);
  if (documents.empty()) fail<FormatError>(where, "documents: got none, expected at least one.");
  return documents;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substitute = diagonal + static_cast<size_t>(a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substitute, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

}  // namespace scalebits
