// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/jinja_list_filters.h"

#include <algorithm>

#include "scalebits/io/jinja_text.h"

namespace scalebits::jinja {
namespace {

/// The call of another filter or test: the arguments behind its name.
Call rest_of(const Call& call, size_t skipped, const std::string& what) {
  Call rest{what, {}, call.named};
  const auto from = std::min(skipped, call.positional.size());
  rest.positional.assign(call.positional.begin() + static_cast<std::ptrdiff_t>(from), call.positional.end());
  return rest;
}

Value joined(const Value& value, const Call& call, Work& work) {
  const Bound bound(call, {"d", "attribute"});
  const std::string separator = bound.get(0) != nullptr ? to_text(bound.at(0), work) : "";
  std::string out;
  bool first = true;
  for (const Value& item : elements(value, work)) {
    if (!first) out += separator;
    first = false;
    const bool attribute = bound.get(1) != nullptr && !bound.at(1).is_none();
    out += to_text(attribute ? get_path(item, bound.at(1), work) : item, work);
    work.spend(separator.size());
  }
  return out;
}

/// map('filter', ...) and map(attribute=..., default=...).
Value mapped(const Value& value, const Call& call, Work& work) {
  Values out;
  if (call.positional.empty()) {
    const Bound bound(call, {"attribute", "default"}, 1);
    for (const Value& item : elements(value, work)) {
      Value found = get_path(item, bound.at(0), work);
      out.push_back(found.is_undefined() && bound.get(1) != nullptr ? bound.at(1) : found);
    }
  } else {
    const std::string name = text_of(call.positional[0], call.what);
    const Call rest = rest_of(call, 1, "filter " + name);
    for (const Value& item : elements(value, work)) out.push_back(apply_filter(name, item, rest, work));
  }
  return Value::iterator(std::move(out));
}

/// select, reject and, by an attribute, selectattr, rejectattr.
Value selected(const std::string& name, const Value& value, const Call& call, Work& work) {
  const bool keep = name.starts_with("select"), by_attribute = name.ends_with("attr");
  const size_t own = by_attribute ? 1 : 0;
  if (call.positional.size() < own) wrong("{}: expected the name of an attribute.", call.what);
  const bool tested = call.positional.size() > own;
  const std::string test = tested ? text_of(call.positional[own], call.what) : "";
  const Call rest = rest_of(call, own + 1, "test " + test);
  Values out;
  for (const Value& item : elements(value, work)) {
    const Value looked_at = by_attribute ? get_path(item, call.positional[0], work) : item;
    if ((tested ? apply_test(test, looked_at, rest, work) : looked_at.truth()) == keep) out.push_back(item);
  }
  return Value::iterator(std::move(out));
}

/// What values are sorted and told apart by: strings in lower case unless `exact`.
Value sort_key(const Value& item, bool exact, const Value* attribute, Work& work) {
  const bool has = attribute != nullptr && !attribute->is_none();
  if (has && attribute->text() != nullptr && attribute->text()->find(',') != std::string::npos) {
    unsupported("attribute: got several, expected one.");
  }
  const Value key = has ? get_path(item, *attribute, work) : item;
  if (key.text() == nullptr || exact) return key;
  work.spend(key.text()->size());
  return lower(*key.text());
}

Values sorted(Values items, bool exact, const Value* attribute, bool reverse, Work& work) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) keyed.emplace_back(sort_key(item, exact, attribute, work), item);
  std::ranges::stable_sort(keyed, [&](const auto& a, const auto& b) {
    work.spend(kStepWork);
    return reverse ? compare("<", b.first, a.first, work) : compare("<", a.first, b.first, work);
  });
  std::ranges::transform(keyed, items.begin(), [](const auto& pair) { return pair.second; });
  return items;
}

Value sorted_members(const Value& value, const Call& call, Work& work) {
  const Bound bound(call, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text(1).value_or("key");
  if (by != "key" && by != "value") wrong("{}: got by = {}, expected key or value.", call.what, by);
  const Values items = elements(call_method(defined(value), "items", {call.what, {}, {}}, work), work);
  const Value index(int64_t{by == "key" ? 0 : 1});
  return Value::list(sorted(items, bound.flag(0), &index, bound.flag(2), work));
}

Value distinct(const Value& value, const Call& call, Work& work) {
  const Bound bound(call, {"case_sensitive", "attribute"});
  Values keys, out;
  for (const Value& item : elements(value, work)) {
    const Value key = sort_key(item, bound.flag(0), bound.get(1), work);
    if (std::ranges::any_of(keys, [&](const Value& k) { return equal(k, key, work); })) continue;
    keys.push_back(key);
    out.push_back(item);
  }
  return Value::iterator(std::move(out));
}

/// min and max: the first of several.
Value extreme(const std::string& name, const Value& value, const Call& call, Work& work) {
  const Bound bound(call, {"case_sensitive", "attribute"});
  const Values items = elements(value, work);
  if (items.empty()) return Undefined{"the sequence was empty"};
  size_t best = 0;
  Value best_key = sort_key(items[0], bound.flag(0), bound.get(1), work);
  for (size_t i = 1; i < items.size(); ++i) {
    const Value key = sort_key(items[i], bound.flag(0), bound.get(1), work);
    if (!compare(name == "min" ? "<" : ">", key, best_key, work)) continue;
    best = i;
    best_key = key;
  }
  return items[best];
}

Value total(const Value& value, const Call& call, Work& work) {
  const Bound bound(call, {"attribute", "start"});
  Value sum = bound.get(1) != nullptr ? bound.at(1) : Value(int64_t{0});
  const bool attribute = bound.get(0) != nullptr && !bound.at(0).is_none();
  for (const Value& item : elements(value, work)) {
    sum = binary("+", sum, attribute ? get_path(item, bound.at(0), work) : item, work);
  }
  return sum;
}

Value reversed(const Value& value, Work& work) {
  if (value.text() != nullptr) return get_slice(value, {}, {}, int64_t{-1}, work);
  Values items = elements(defined(value), work);
  std::ranges::reverse(items);
  return Value::iterator(std::move(items));
}

}  // namespace

std::optional<Value> list_filter(const std::string& name, const Value& value, const Call& call, Work& work) {
  if (name == "join") return joined(value, call, work);
  if (name == "map") return mapped(value, call, work);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr") {
    return selected(name, value, call, work);
  }
  if (name == "sort") {
    const Bound bound(call, {"reverse", "case_sensitive", "attribute"});
    return Value::list(sorted(elements(value, work), bound.flag(1), bound.get(2), bound.flag(0), work));
  }
  if (name == "dictsort") return sorted_members(value, call, work);
  if (name == "unique") return distinct(value, call, work);
  if (name == "min" || name == "max") return extreme(name, value, call, work);
  if (name == "sum") return total(value, call, work);
  if (name != "list" && name != "first" && name != "last" && name != "reverse" && name != "items") return std::nullopt;
  Bound(call, {});
  if (name == "list") return Value::list(elements(value, work));
  if (name == "reverse") return reversed(value, work);
  if (name == "items") {
    if (value.is_undefined()) return Value::iterator({});
    if (value.dict() == nullptr) wrong("filter items: got a {}, expected a dict.", value.type_name());
    return Value::iterator(elements(call_method(value, "items", call, work), work));
  }
  if (name == "last" && value.sequence() != nullptr && value.sequence()->form == Sequence::Form::kIterator) {
    wrong("filter last: got an iterator, expected a list.");
  }
  const Values items = elements(name == "last" ? defined(value) : value, work);
  if (items.empty()) return Undefined{fmt::format("there is no {} element", name)};
  return name == "first" ? items.front() : items.back();
}

}  // namespace scalebits::jinja
