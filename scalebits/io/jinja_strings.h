// SPDX-License-Identifier: Apache-2.0
/// How strings and numbers are written in a Jinja template.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace scalebits::jinja {

/// Bytes of the quoted string that `text` begins with, quotes included; npos when it does not end.
size_t quoted_length(std::string_view text);
/// What stands between the quotes, with Python's escapes. @throws Problem
std::string unescaped(std::string_view text);

struct NumberShape {
  size_t length = 0;
  bool is_float = false;
};
/// Of the number that `text` begins with.
NumberShape number_shape(std::string_view text);

}  // namespace scalebits::jinja
