// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/component.h"

#include "scalebits/io/text.h"

namespace scalebits {
namespace {

const Json kNull = nullptr;

std::string shown(const Json& json) {
  if (json.is_object() || json.is_array()) return fmt::format("{} of {}", json.type_name(), json.size());
  if (json.is_string()) return quote(json.get_ref<const std::string&>());
  return json.dump();
}

}  // namespace

void Component::malformed(std::string_view expected) const {
  if (is_null()) fail<FormatError>(file_, "{}: missing, expected {}.", path_, expected);
  fail<FormatError>(file_, "{}: got {}, expected {}.", path_, shown(*json_), expected);
}

void Component::unsupported(std::string_view got, std::string_view known) const {
  fail<Unsupported>(file_, "{}: got {}, expected {}. This part of the tokenizer is not implemented.", path_, quote(got),
                    known);
}

const std::string& Component::text() const {
  if (!json_->is_string()) malformed("a string");
  return json_->get_ref<const std::string&>();
}

bool Component::flag() const {
  if (!json_->is_boolean()) malformed("true or false");
  return json_->get<bool>();
}

int64_t Component::integer(int64_t lowest, int64_t highest) const {
  const bool fits = json_->is_number_unsigned() ? json_->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)
                                                : json_->is_number_integer();
  if (!fits) malformed(fmt::format("an integer in [{}, {}]", lowest, highest));
  const auto value = json_->get<int64_t>();
  if (value < lowest || value > highest) malformed(fmt::format("an integer in [{}, {}]", lowest, highest));
  return value;
}

std::vector<Component> Component::items(size_t max_count) const {
  if (!json_->is_array()) malformed("an array");
  if (json_->size() > max_count) malformed(fmt::format("an array of at most {} elements", max_count));
  std::vector<Component> result;
  result.reserve(json_->size());
  for (const Json& item : *json_) result.emplace_back(item, file_, fmt::format("{}[{}]", path_, result.size()));
  return result;
}

Component Component::child(std::string_view key) const {
  if (!json_->is_object()) malformed("an object");
  std::string path = path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  const auto found = json_->find(std::string(key));
  return {found == json_->end() ? kNull : *found, file_, std::move(path)};
}

bool Component::flag(std::string_view key, std::optional<bool> absent) const {
  const Component member = child(key);
  return member.is_null() && absent ? *absent : member.flag();
}

}  // namespace scalebits
