// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/config_section.h"

#include <cmath>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

constexpr size_t kMaxTokenIds = 1024;

bool is_positive(const Json& json) {
  return json.is_number() && std::isfinite(json.get<double>()) && json.get<double>() > 0;
}

}  // namespace

const Json* ConfigSection::find(const char* key) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigSection::has_null(const char* key) const {
  const auto found = json_.find(key);
  return found != json_.end() && found->is_null();
}

int64_t ConfigSection::positive(const char* key, int64_t max, std::optional<int64_t> fallback) const {
  const Json* json = find(key);
  if (json == nullptr && fallback) return *fallback;
  if (json == nullptr || !json->is_number_unsigned() || json->get<uint64_t>() == 0) wrong(key, "a positive integer");
  if (json->get<uint64_t>() > static_cast<uint64_t>(max)) wrong(key, fmt::format("at most {}", max));
  return json->get<int64_t>();
}

double ConfigSection::positive_number(const char* key, std::optional<double> fallback) const {
  const Json* json = find(key);
  if (json == nullptr && fallback) return *fallback;
  if (json == nullptr || !is_positive(*json)) wrong(key, "a positive number");
  return json->get<double>();
}

std::vector<double> ConfigSection::positive_numbers(const char* key, size_t n) const {
  const Json* json = find(key);
  if (json == nullptr || !json->is_array() || json->size() != n) wrong(key, fmt::format("a list of {} numbers", n));
  std::vector<double> values;
  for (const Json& value : *json) {
    if (!is_positive(value)) wrong(key, "positive numbers");
    values.push_back(value.get<double>());
  }
  return values;
}

bool ConfigSection::boolean(const char* key, bool fallback) const {
  const Json* json = find(key);
  if (json == nullptr) return fallback;
  if (!json->is_boolean()) wrong(key, "true or false");
  return json->get<bool>();
}

std::string ConfigSection::text(const char* key, std::optional<std::string> fallback) const {
  const Json* json = find(key);
  if (json == nullptr && fallback) return *fallback;
  if (json == nullptr || !json->is_string()) wrong(key, "a string");
  return json->get<std::string>();
}

const Json* ConfigSection::object(const char* key) const {
  const Json* json = find(key);
  if (json != nullptr && !json->is_object()) wrong(key, "an object");
  return json;
}

const Json* ConfigSection::list(const char* key, size_t max) const {
  const Json* json = find(key);
  if (json == nullptr) return nullptr;
  if (!json->is_array()) wrong(key, "a list");
  if (json->size() > max) wrong(key, fmt::format("at most {} entries", max));
  return json;
}

std::vector<int64_t> ConfigSection::token_ids(const char* key, int64_t end) const {
  const Json* json = find(key);
  if (json == nullptr) return {};
  std::vector<int64_t> ids;
  const auto add = [&](const Json& id) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(end)) {
      wrong(key, "a token id or a list of token ids");
    }
    ids.push_back(id.get<int64_t>());
  };
  if (!json->is_array()) {
    add(*json);
    return ids;
  }
  if (json->size() > kMaxTokenIds) wrong(key, fmt::format("at most {} ids", kMaxTokenIds));
  for (const Json& id : *json) add(id);
  return ids;
}

void ConfigSection::wrong(const char* key, std::string_view expected) const {
  const Json* json = find(key);
  if (json == nullptr) fail<FormatError>(where_, "{}{}: missing, expected {}.", prefix_, key, expected);
  fail<FormatError>(where_, "{}{}: got {}, expected {}.", prefix_, key, shown(*json), expected);
}

std::string ConfigSection::shown(const Json& json) {
  const std::string dump = json.dump(-1, ' ', true);
  return dump.size() <= 80 ? dump : dump.substr(0, 80) + "...";
}

}  // namespace scalebits
