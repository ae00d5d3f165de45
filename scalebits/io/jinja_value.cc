// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/jinja_value.h"

#include <algorithm>

#include "scalebits/base/errors.h"

namespace scalebits::jinja {
namespace {

size_t level_above(size_t deepest) {
  if (deepest >= kMaxValueDepth) unsupported("lists in lists: got more than {} levels.", kMaxValueDepth);
  return deepest + 1;
}

bool equal_items(const Values& a, const Values& b, Work& work) {
  return std::ranges::equal(a, b, [&](const Value& x, const Value& y) { return equal(x, y, work); });
}

bool equal_members(const Dict& a, const Dict& b, Work& work) {
  work.spend(a.members.size() * b.members.size());
  return a.members.size() == b.members.size() && std::ranges::all_of(a.members, [&](const auto& member) {
           const Value* other = b.find(member.first);
           return other != nullptr && equal(member.second, *other, work);
         });
}

bool is_array(const Sequence& s) { return s.form == Sequence::Form::kList || s.form == Sequence::Form::kTuple; }

}  // namespace

const Value* Dict::find(std::string_view key) const {
  const auto found = std::ranges::find_if(members, [&](const auto& member) { return member.first == key; });
  return found == members.end() ? nullptr : &found->second;
}

void Dict::set(const std::string& key, Value value) {
  if (const Value* there = find(key)) {
    *const_cast<Value*>(there) = std::move(value);
  } else {
    members.emplace_back(key, std::move(value));
  }
}

Value::Value(Sequence sequence) {
  size_t deepest = 0;
  for (const Value& item : sequence.items) deepest = std::max(deepest, item.depth());
  depth_ = level_above(deepest);
  data_ = std::make_shared<const Sequence>(std::move(sequence));
}

Value::Value(Dict dict) {
  size_t deepest = 0;
  for (const auto& [key, value] : dict.members) deepest = std::max(deepest, value.depth());
  depth_ = level_above(deepest);
  data_ = std::make_shared<const Dict>(std::move(dict));
}

Value Value::from_json(const Json& json) {
  if (json.is_null()) return {};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_number_float()) return json.get<double>();
  if (json.is_number()) {
    if (json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      unsupported("integer: got {}, expected at most {}.", json.get<uint64_t>(), INT64_MAX);
    }
    return json.get<int64_t>();
  }
  if (json.is_array()) {
    Values items;
    for (const Json& item : json) items.push_back(from_json(item));
    return list(std::move(items));
  }
  Dict dict;
  for (const auto& [key, value] : json.items()) dict.members.emplace_back(key, from_json(value));
  return dict;
}

int64_t Value::integer() const {
  const auto* flag = std::get_if<bool>(&data_);
  return flag != nullptr ? static_cast<int64_t>(*flag) : std::get<int64_t>(data_);
}

double Value::number() const { return is_float() ? std::get<double>(data_) : static_cast<double>(integer()); }

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (text() != nullptr) return !text()->empty();
  if (dict() != nullptr) return !dict()->members.empty();
  if (sequence() != nullptr) return sequence()->form == Sequence::Form::kIterator || !sequence()->items.empty();
  return true;
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_number()) return is_float() ? "float" : "int";
  if (text() != nullptr) return "str";
  if (dict() != nullptr) return "dict";
  if (function() != nullptr) return function()->macro != nullptr ? "macro" : "function";
  if (loop() != nullptr) return "loop";
  if (name_space() != nullptr) return "namespace";
  switch (sequence()->form) {
    case Sequence::Form::kList:
      return "list";
    case Sequence::Form::kTuple:
      return "tuple";
    case Sequence::Form::kRange:
      return "range";
    case Sequence::Form::kView:
      return "dict view";
    case Sequence::Form::kIterator:
      return "iterator";
  }
  check_failed(__FILE__, __LINE__, "known form");
}

bool equal(const Value& a, const Value& b, Work& work) {
  work.spend(1);
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_integer() && b.is_integer()) return a.integer() == b.integer();
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.text() != nullptr && b.text() != nullptr) {
    work.spend(std::min(a.text()->size(), b.text()->size()) / 16);
    return *a.text() == *b.text();
  }
  if (a.dict() != nullptr && b.dict() != nullptr) return equal_members(*a.dict(), *b.dict(), work);
  const Sequence *x = a.sequence(), *y = b.sequence();
  if (x != nullptr && y != nullptr && is_array(*x)) return x->form == y->form && equal_items(x->items, y->items, work);
  if (x != nullptr && y != nullptr && x->form == Sequence::Form::kRange) {
    return y->form == Sequence::Form::kRange && equal_items(x->items, y->items, work);
  }
  return (x != nullptr && x == y) || (a.name_space() != nullptr && a.name_space() == b.name_space()) ||
         (a.function() != nullptr && a.function() == b.function()) || (a.loop() != nullptr && a.loop() == b.loop());
}

}  // namespace scalebits::jinja
