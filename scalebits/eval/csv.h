// SPDX-License-Identifier: Apache-2.0
/// Comma-separated values (RFC 4180): fields in double quotes may hold commas, line ends and doubled quotes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

struct CsvRow {
  std::vector<std::string> fields;
  int64_t line = 0;  ///< on which it begins, from 1
};

/// Empty lines are left out. @param where  the file's name
/// @throws FormatError naming `where` and the line: a quote that is not closed, or text behind a closing quote
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& where);

}  // namespace scalebits
