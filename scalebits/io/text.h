// SPDX-License-Identifier: Apache-2.0
/// Calibration and evaluation text: plain UTF-8 files and JSONL with a `text` field.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

/// Documents of a file. A `.jsonl` file gives one per line (key `text`); any other file is one document, or, with a
/// non-empty `separator`, the pieces between its occurrences with white space at both ends removed and empty ones
/// dropped.
/// @throws IoError, FormatError: empty file, not UTF-8 (names the byte offset), malformed JSONL (names the line)
std::vector<std::string> read_documents(const std::filesystem::path& path, std::string_view separator = {});

/// Offset of the first byte that is not part of well-formed UTF-8, or npos.
size_t find_invalid_utf8(std::string_view text);

/// `text` in double quotes for a message: at most `max_bytes` of it, anything but printable ASCII as \xNN.
std::string quote(std::string_view text, size_t max_bytes = 80);

/// Levenshtein distance; costs the product of the lengths.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace scalebits
