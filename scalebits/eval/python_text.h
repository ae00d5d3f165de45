// SPDX-License-Identifier: Apache-2.0
/// The few string operations of Python that the harness words its prompts with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace scalebits {

/// str.rstrip() and str.strip(). @param text well-formed UTF-8
std::string_view python_rstrip(std::string_view text);
std::string_view python_strip(std::string_view text);

/// str.capitalize(): the first character in title case, all others in lower case.
std::string python_capitalize(std::string_view text);

/// str.replace(from, to)
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

/// Characters (not bytes) of well-formed UTF-8: len(str)
int64_t python_length(std::string_view text);

}  // namespace scalebits
