// SPDX-License-Identifier: Apache-2.0
/// The one place that names the JSON library. Files from outside are parsed here, with caps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace scalebits {

/// Objects keep the order in which keys were written.
using Json = nlohmann::ordered_json;

/// @throws FormatError naming `where` on malformed text, on duplicate keys and on nesting deeper than 64
Json parse_json(std::string_view text, const std::string& where);
/// @throws IoError, FormatError (also above `max_bytes`)
Json read_json(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 30);

/// The same; an empty object when there is no such file.
Json read_json_or_empty(const std::filesystem::path& path);

/// An integer in least..most. The library's own conversion cuts off what does not fit (2^32 + 4 is read as 4), rounds
/// and takes true for 1.
/// @throws FormatError naming `where` and `what`
int64_t integer_in(const Json& json, int64_t least, int64_t most, std::string_view what, const std::string& where);
/// The same for 0..2^64 - 1.
uint64_t unsigned_integer(const Json& json, std::string_view what, const std::string& where);

/// An integer that T holds.
template <class T>
T to_integer(const Json& json, std::string_view what, const std::string& where) {
  if constexpr (std::is_same_v<T, uint64_t>) {
    return unsigned_integer(json, what, where);
  } else {
    constexpr int64_t kLeast = std::numeric_limits<T>::min(), kMost = std::numeric_limits<T>::max();
    return static_cast<T>(integer_in(json, kLeast, kMost, what, where));
  }
}
/// An array of integers that T holds.
template <class T>
std::vector<T> to_integers(const Json& json, std::string_view what, const std::string& where) {
  std::vector<T> all;
  for (const Json& item : json.get_ref<const Json::array_t&>()) all.push_back(to_integer<T>(item, what, where));
  return all;
}
/// A member of an object, an integer that T holds; the library's exception where there is no such member.
template <class T>
T integer_at(const Json& object, const char* key, const std::string& where) {
  return to_integer<T>(object.at(key), key, where);
}

/// A JSON value for a message: a quoted beginning of its text, however long it is.
std::string short_text(const Json& json);

}  // namespace scalebits
