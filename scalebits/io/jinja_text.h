// SPDX-License-Identifier: Apache-2.0
/// Python's string operations on UTF-8 (well-formed; checked where text comes in).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits::jinja {

bool is_space(char32_t c);  ///< str.isspace() of one character
enum class Side { kLeft, kRight, kBoth };
/// str.strip() and its one-sided forms. @param characters  a set; white space when there is none
std::string_view strip(std::string_view text, Side side, const std::optional<std::string>& characters = {});

int64_t count_characters(std::string_view text);
/// The characters one by one.
std::vector<std::string_view> characters(std::string_view text);

bool has_cased(std::string_view text);  ///< whether there is a letter that has a case
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);        ///< str.title(): every run of letters
std::string title_words(std::string_view text);  ///< the filter `title`: behind white space, brackets and hyphens

/// At most `most` replacements; all when it is negative.
std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t most = -1);
/// str.split() and str.rsplit(): at white space when there is no separator; at most `most` cuts, all when negative.
std::vector<std::string> split(std::string_view text, const std::optional<std::string>& separator, int64_t most,
                               bool from_right);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);

/// The indices that a[start:stop:step] takes of `length` elements. step is not 0.
std::vector<size_t> slice(size_t length, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step);

/// int(text) and float(text); nothing where Python raises ValueError, or the integer does not fit in 64 bits.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);

}  // namespace scalebits::jinja
