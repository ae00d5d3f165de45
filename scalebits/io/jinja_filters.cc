// SPDX-License-Identifier: Apache-2.0
/// Filters: what stands behind a bar. Those of lists are in jinja_list_filters.cc.
#include <array>
#include <cmath>

#include "scalebits/io/jinja_calls.h"
#include "scalebits/io/jinja_list_filters.h"
#include "scalebits/io/jinja_text.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {
namespace {

Value json(const Value& value, const Call& call, Work& work) {
  const Bound bound(call, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style{.ascii = bound.flag(0), .sorted = bound.flag(3), .indent = {}};
  const Value* indent = bound.get(1);
  if (indent != nullptr && !indent->is_none()) {
    style.lines = true;
    style.comma.assign(1, ',');  // g++ 12 warns of an assignment from a literal here (its bug 105651)
    if (indent->text() == nullptr && bound.integer(1, 0) > 64) unsupported("filter tojson: got an indent above 64.");
    style.indent = indent->text() != nullptr
                       ? *indent->text()
                       : std::string(static_cast<size_t>(std::max<int64_t>(bound.integer(1, 0), 0)), ' ');
  }
  const Value* separators = bound.get(2);
  if (separators != nullptr && !separators->is_none()) {
    const Sequence* two = separators->sequence();
    if (two == nullptr || two->items.size() != 2) wrong("filter tojson: expected two separators.");
    style.comma = text_of(two->items[0], call.what);
    style.colon = text_of(two->items[1], call.what);
  }
  return to_json(value, style, work);
}

Value replaced(const Value& value, const Call& call, Work& work) {
  const Bound bound(call, {"old", "new", "count"}, 2);
  const int64_t most = bound.get(2) == nullptr || bound.at(2).is_none() ? -1 : bound.integer(2, -1);
  const Call method{call.what, {to_text(bound.at(0), work), to_text(bound.at(1), work), most}, {}};
  return call_method(to_text(value, work), "replace", method, work);
}

Value indented(const Value& value, const Call& call, Work& work) {
  const Bound bound(call, {"width", "first", "blank"});
  const Value* width = bound.get(0);
  const std::string text = text_of(value, call.what);
  if (width != nullptr && width->text() == nullptr && bound.integer(0, 4) > 1024) {
    unsupported("filter indent: got a width above 1024.");
  }
  const std::string by = width != nullptr && width->text() != nullptr
                             ? *width->text()
                             : std::string(static_cast<size_t>(std::max<int64_t>(bound.integer(0, 4), 0)), ' ');
  // As Jinja: a line end is added and only whole lines are taken, so that one at the end stays.
  const std::vector<std::string> lines = split_lines(text + "\n", false);
  work.spend(text.size() + lines.size() * (by.size() + 1));
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? bound.flag(1) : bound.flag(2) || !lines[i].empty()) out += by;
    out += lines[i];
  }
  return out;
}

/// int() and float() with a default where Python would raise.
Value to_number(const std::string& name, const Value& value, const Call& call) {
  const Bound bound(call, {"default", "base"});
  if (bound.get(1) != nullptr) unsupported("filter int: got a base, expected decimal numbers.");
  const Value fallback = bound.get(0) != nullptr ? bound.at(0) : name == "int" ? Value(int64_t{0}) : Value(0.0);
  defined(value);
  std::optional<double> number;
  if (value.is_number()) number = value.number();
  if (value.text() != nullptr) number = parse_number(*value.text());
  if (name == "float") return number ? Value(*number) : fallback;
  if (value.is_integer()) return value.integer();
  if (value.text() != nullptr) {
    if (const auto whole = parse_integer(*value.text())) return *whole;
  }
  if (!number || !std::isfinite(*number)) return fallback;
  if (std::abs(*number) >= 0x1p63) unsupported("filter int: got a number that 64 bits cannot hold.");
  return static_cast<int64_t>(*number);
}

Value length(const Value& value) {
  if (value.is_undefined()) return int64_t{0};
  if (value.text() != nullptr) return count_characters(*value.text());
  if (value.dict() != nullptr) return static_cast<int64_t>(value.dict()->members.size());
  const Sequence* s = value.sequence();
  if (s == nullptr || s->form == Sequence::Form::kIterator)
    wrong("filter length: got a {}, which has none.", value.type_name());
  return static_cast<int64_t>(s->items.size());
}

Value absolute(const Value& value, Work& work) {
  if (!defined(value).is_number()) wrong("filter abs: got a {}, expected a number.", value.type_name());
  return compare("<", value, int64_t{0}, work) ? unary("-", value) : unary("+", value);
}

/// Filters that make a text of a text; anything is made one first.
std::optional<Value> text_filter(const std::string& name, const Value& value, const Call& call, Work& work) {
  const auto text = [&] {
    Bound(call, {});
    const std::string result = to_text(value, work);
    work.spend(2 * result.size());
    return result;
  };
  if (name == "upper") return upper(text());
  if (name == "lower") return lower(text());
  if (name == "capitalize") return capitalize(text());
  if (name == "title") return title_words(text());
  if (name == "string") return text();
  if (name == "trim") {
    const auto set = Bound(call, {"chars"}).text(0);
    const std::string all = to_text(value, work);
    work.spend(set ? search_work(all, *set) : 0);
    return std::string(strip(all, Side::kBoth, set));
  }
  return std::nullopt;
}

}  // namespace

Value apply_filter(const std::string& name, const Value& value, const Call& call, Work& work) {
  work.spend(kStepWork);
  if (auto result = text_filter(name, value, call, work)) return *result;
  if (name == "tojson") return json(value, call, work);
  if (name == "replace") return replaced(value, call, work);
  if (name == "indent") return indented(value, call, work);
  if (name == "int" || name == "float") return to_number(name, value, call);
  if (name == "default" || name == "d") {
    const Bound bound(call, {"default_value", "boolean"});
    const bool absent = value.is_undefined() || (bound.flag(1) && !value.truth());
    return !absent ? value : bound.get(0) != nullptr ? bound.at(0) : Value("");
  }
  if (name == "length" || name == "count" || name == "abs") {
    Bound(call, {});
    return name == "abs" ? absolute(value, work) : length(value);
  }
  if (auto result = list_filter(name, value, call, work)) return *result;
  unsupported("filter: got {}, which we do not have.", quote(name));
}

}  // namespace scalebits::jinja
