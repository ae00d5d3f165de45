// SPDX-License-Identifier: Apache-2.0
/// What a template can do with values: operators, methods, functions, filters and tests, each as in Python or Jinja.
/// All throw Problem.
#pragma once

#include <ctime>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scalebits/io/jinja_value.h"

namespace scalebits::jinja {

/// Arguments of a call, evaluated.
struct Call {
  std::string what;  ///< for messages: "filter join"
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Arguments by parameter.
class Bound {
 public:
  /// Refuses missing, surplus and unknown arguments.
  Bound(const Call& call, std::initializer_list<std::string_view> parameters, size_t required = 0);
  /// Null when it was not given.
  [[nodiscard]] const Value* get(size_t parameter) const;
  [[nodiscard]] const Value& at(size_t parameter) const { return *get(parameter); }
  [[nodiscard]] bool flag(size_t parameter) const { return get(parameter) != nullptr && at(parameter).truth(); }
  [[nodiscard]] int64_t integer(size_t parameter, int64_t fallback) const;
  /// A string; nothing when it was not given or is None.
  [[nodiscard]] std::optional<std::string> text(size_t parameter) const;

 private:
  std::string what_;
  std::vector<std::string_view> parameters_;
  std::vector<std::optional<Value>> values_;
};

// Operators (jinja_operators.cc).
Value get_member(const Value& of, const std::string& name, Work& work);
Value get_item(const Value& of, const Value& key, Work& work);
Value get_slice(const Value& of, const Value& start, const Value& stop, const Value& step, Work& work);
Value unary(const std::string& op, const Value& x);
Value binary(const std::string& op, const Value& a, const Value& b, Work& work);
bool compare(const std::string& op, const Value& a, const Value& b, Work& work);
/// The elements that a loop goes through; an iterator is then used up.
Values elements(const Value& of, Work& work);
/// The value; an error where it is undefined.
const Value& defined(const Value& value);
/// The text of a string; another kind is an error. @param what  for it: "str.join"
const std::string& text_of(const Value& value, std::string_view what);

/// What it may cost to find `part` in `text`: comparisons that fail late.
inline size_t search_work(std::string_view text, std::string_view part) {
  return text.size() + text.size() * part.size() / 64;
}

/// Refuses the name of something that Python's values of this kind have and we do not (or not without a call).
void check_attribute(const Value& of, std::string_view name);
Value call_method(const Value& self, const std::string& name, const Call& call, Work& work);

/// A function of the environment. @param now  what strftime_now() formats
bool is_function(std::string_view name);
Value call_function(const std::string& name, const Call& call, const std::tm& now, Work& work);

Value apply_filter(const std::string& name, const Value& value, const Call& call, Work& work);
bool apply_test(const std::string& name, const Value& value, const Call& call, Work& work);

/// `role`, `function.name` or an index, looked up in each element of a list.
Value get_path(const Value& of, const Value& path, Work& work);

}  // namespace scalebits::jinja
