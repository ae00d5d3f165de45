// SPDX-License-Identifier: Apache-2.0
/// The one place that names the JSON library. Files from outside are parsed here, with caps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace scalebits {

/// Objects keep the order in which keys were written.
using Json = nlohmann::ordered_json;

/// @throws FormatError naming `where` on malformed text, on duplicate keys and on nesting deeper than 64
Json parse_json(std::string_view text, const std::string& where);
/// @throws IoError, FormatError (also above `max_bytes`)
Json read_json(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 30);

/// The same; an empty object when there is no such file.
Json read_json_or_empty(const std::filesystem::path& path);

}  // namespace scalebits
