// SPDX-License-Identifier: Apache-2.0
/// Arguments of calls, and the functions that transformers gives to chat templates.
#include <algorithm>
#include <array>

#include "scalebits/io/jinja_calls.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {
namespace {

constexpr std::array<std::string_view, 5> kFunctions = {"range", "dict", "namespace", "raise_exception",
                                                        "strftime_now"};
/// As Jinja's sandbox.
constexpr int64_t kMaxRange = 100'000;

Value range(const Call& call, Work& work) {
  const Bound bound(call, {"start", "stop", "step"}, 1);
  const bool one = bound.get(1) == nullptr;
  const int64_t start = one ? 0 : bound.integer(0, 0), stop = one ? bound.integer(0, 0) : bound.integer(1, 0);
  const int64_t step = bound.integer(2, 1);
  if (step == 0) wrong("range: got the step 0.");
  Sequence result{.form = Sequence::Form::kRange, .items = {}};
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(result.items.size()) == kMaxRange) wrong("range: got more than {} numbers.", kMaxRange);
    result.items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  work.spend(result.items.size() * kStepWork);
  return result;
}

Dict members(const Call& call, Work& work) {
  Dict result;
  if (call.positional.size() > 1) wrong("{}: got {} arguments without a name.", call.what, call.positional.size());
  if (!call.positional.empty()) {
    const Dict* from = defined(call.positional[0]).dict();
    if (from == nullptr)
      unsupported("{}: got a {}, expected a dict or names.", call.what, call.positional[0].type_name());
    result = *from;
  }
  work.spend((result.members.size() + call.named.size()) * (call.named.size() + kStepWork));
  for (const auto& [name, value] : call.named) result.set(name, value);
  return result;
}

Value formatted_time(const std::string& format, const std::tm& now) {
  constexpr std::string_view kKnown = "aAbBcdHIjmMpSUwWxXyYZ%eFTDRuVGgklhnt-";
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    ++i;
    if (i < format.size() && format[i] == '-') ++i;  // without padding
    if (i == format.size() || kKnown.find(format[i]) == std::string_view::npos || format[i] == '-') {
      unsupported("strftime_now: got the format {}.", quote(format));
    }
  }
  if (format.empty()) return "";
  std::string out(format.size() * 32 + 64, '\0');
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &now));
  return out;
}

}  // namespace

Bound::Bound(const Call& call, std::initializer_list<std::string_view> parameters, size_t required)
    : what_(call.what), parameters_(parameters), values_(parameters.size()) {
  if (call.positional.size() > parameters_.size()) {
    wrong("{}: got {} arguments, expected at most {}.", what_, call.positional.size(), parameters_.size());
  }
  std::copy(call.positional.begin(), call.positional.end(), values_.begin());
  for (const auto& [name, value] : call.named) {
    const auto at = static_cast<size_t>(std::ranges::find(parameters_, name) - parameters_.begin());
    if (at == parameters_.size()) wrong("{}: got an argument named {}, which it does not have.", what_, quote(name));
    if (values_[at]) wrong("{}: got {} twice.", what_, quote(name));
    values_[at] = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values_[i]) wrong("{}: missing the argument {}.", what_, parameters_[i]);
  }
}

const Value* Bound::get(size_t parameter) const {
  const std::optional<Value>& value = values_[parameter];
  return value ? &*value : nullptr;
}

int64_t Bound::integer(size_t parameter, int64_t fallback) const {
  const Value* value = get(parameter);
  if (value == nullptr) return fallback;
  if (!defined(*value).is_integer()) {
    wrong("{}: got a {} as {}, expected an integer.", what_, value->type_name(), parameters_[parameter]);
  }
  return value->integer();
}

std::optional<std::string> Bound::text(size_t parameter) const {
  const Value* value = get(parameter);
  if (value == nullptr || value->is_none()) return std::nullopt;
  return text_of(*value, what_);
}

bool is_function(std::string_view name) {
  if (name == "lipsum" || name == "cycler" || name == "joiner")
    unsupported("function: got {}, which we do not have.", name);
  return std::ranges::find(kFunctions, name) != kFunctions.end();
}

Value call_function(const std::string& name, const Call& call, const std::tm& now, Work& work) {
  if (name == "range") return range(call, work);
  if (name == "dict") return members(call, work);
  if (name == "namespace") return std::make_shared<Namespace>(Namespace{members(call, work)});
  if (name == "strftime_now") return formatted_time(text_of(Bound(call, {"format"}, 1).at(0), name), now);
  const Bound bound(call, {"message"}, 1);
  throw Problem{Problem::Kind::kRaised, to_text(bound.at(0), work)};
}

}  // namespace scalebits::jinja
