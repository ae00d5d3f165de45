// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr size_t kMaxDepth = 64;

/// Builds the document while it is parsed. The library's own builder keeps one of several equal keys in silence, and
/// looks through all earlier keys at each insertion: quadratic, which a vocabulary of 150,000 tokens does not forgive.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const std::string& where) : where_(where) {}
  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t& /*digits*/) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& /*value*/) override { return false; }  // not in text
  bool start_object(size_t /*elements*/) override { return open(Json::object()); }
  bool start_array(size_t /*elements*/) override { return open(Json::array()); }
  bool key(string_t& name) override {
    key_ = std::move(name);
    return true;
  }
  bool end_array() override {
    stack_.pop_back();
    return true;
  }
  bool end_object() override {
    std::vector<std::string_view> keys;
    for (const auto& [name, value] : stack_.back()->get_ref<const Json::object_t&>()) keys.push_back(name);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) fail<FormatError>(where_, "JSON key {}: got it twice, expected once.", quote(*twice));
    stack_.pop_back();
    return true;
  }
  bool parse_error(size_t position, const std::string& token, const nlohmann::detail::exception& error) override {
    // `[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...; last read: '...'`
    std::string_view reason = error.what();
    reason.remove_prefix(std::min(reason.size(), reason.find("] ") + 2));
    reason = reason.substr(0, reason.find("; last read"));
    const std::string clean = quote(reason, 200);
    fail<FormatError>(where_, "not well-formed JSON at byte {}: got {}. {}.", position, quote(token, 40),
                      std::string_view(clean).substr(1, clean.size() - 2));
  }

 private:
  bool open(Json container) {
    if (stack_.size() == kMaxDepth) fail<FormatError>(where_, "JSON nesting: got more than {} levels.", kMaxDepth);
    stack_.push_back(&place(std::move(container)));
    return true;
  }
  template <class Value>
  bool put(Value&& value) {
    place(Json(std::forward<Value>(value)));
    return true;
  }
  /// Pointers on the stack stay valid: a container grows only while it is the innermost open one.
  Json& place(Json value) {
    if (stack_.empty()) return root_ = std::move(value);
    if (auto* array = stack_.back()->get_ptr<Json::array_t*>()) {
      array->push_back(std::move(value));
      return array->back();
    }
    Json::object_t::Container& members = stack_.back()->get_ref<Json::object_t&>();
    members.emplace_back(std::move(key_), std::move(value));
    return members.back().second;
  }

  const std::string& where_;
  Json root_;
  std::string key_;
  std::vector<Json*> stack_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  Builder builder(where);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) fail<FormatError>(where, "not well-formed JSON.");
  return builder.take();
}

Json read_json(const std::filesystem::path& path, uint64_t max_bytes) {
  return parse_json(read_text_file(path, max_bytes), path.string());
}

Json read_json_or_empty(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? read_json(path) : Json(Json::object());
}

int64_t integer_in(const Json& json, int64_t least, int64_t most, std::string_view what, const std::string& where) {
  // The parser makes integers from 0 on unsigned.
  const auto* large = json.get_ptr<const Json::number_unsigned_t*>();
  const auto* any = json.get_ptr<const Json::number_integer_t*>();
  const bool fits = large != nullptr ? std::in_range<int64_t>(*large) : any != nullptr;
  const int64_t value = !fits ? 0 : large != nullptr ? static_cast<int64_t>(*large) : *any;
  if (!fits || value < least || value > most) {
    fail<FormatError>(where, "{}: got {}, expected an integer in {}..{}", what, short_text(json), least, most);
  }
  return value;
}

uint64_t unsigned_integer(const Json& json, std::string_view what, const std::string& where) {
  if (!json.is_number_unsigned()) {
    fail<FormatError>(where, "{}: got {}, expected an integer in 0..2^64 - 1", what, short_text(json));
  }
  return json.get<uint64_t>();
}

std::string short_text(const Json& json) {
  constexpr size_t kMostBytes = 40;
  if (json.is_structured()) return json.is_array() ? "an array" : "an object";
  if (json.is_string()) return quote(json.get_ref<const std::string&>(), kMostBytes);
  return json.dump();
}

}  // namespace scalebits
