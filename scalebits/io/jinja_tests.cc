// SPDX-License-Identifier: Apache-2.0
/// Tests: what stands behind `is`.
#include <algorithm>
#include <array>

#include "scalebits/io/jinja_calls.h"
#include "scalebits/io/jinja_text.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

/// Names of comparisons.
constexpr std::array<Pair, 16> kComparisons = {{{"==", "=="},
                                                {"eq", "=="},
                                                {"equalto", "=="},
                                                {"!=", "!="},
                                                {"ne", "!="},
                                                {"<", "<"},
                                                {"lt", "<"},
                                                {"lessthan", "<"},
                                                {"<=", "<="},
                                                {"le", "<="},
                                                {">", ">"},
                                                {"gt", ">"},
                                                {"greaterthan", ">"},
                                                {">=", ">="},
                                                {"ge", ">="},
                                                {"in", "in"}}};

std::optional<bool> test_kind(const std::string& name, const Value& v) {
  const Sequence* s = v.sequence();
  if (name == "defined") return !v.is_undefined();
  if (name == "undefined") return v.is_undefined();
  if (name == "none") return v.is_none();
  if (name == "boolean") return v.is_bool();
  if (name == "true") return v.is_bool() && v.truth();
  if (name == "false") return v.is_bool() && !v.truth();
  if (name == "integer") return v.is_integer() && !v.is_bool();
  if (name == "float") return v.is_float();
  if (name == "number") return v.is_number();
  if (name == "string") return v.text() != nullptr;
  if (name == "mapping") return v.dict() != nullptr;
  if (name == "callable") return v.function() != nullptr || v.is_undefined();
  if (name == "iterable") {
    return s != nullptr || v.text() != nullptr || v.dict() != nullptr || v.loop() != nullptr || v.is_undefined();
  }
  if (name == "sequence") {
    const bool indexed = s != nullptr && s->form != Sequence::Form::kView && s->form != Sequence::Form::kIterator;
    return indexed || v.text() != nullptr || v.dict() != nullptr || v.is_undefined();
  }
  return std::nullopt;
}

/// Python's `is`, for the values that there is only one of.
bool same(const Value& a, const Value& b) {
  const auto single = [](const Value& v) { return v.is_none() || v.is_bool(); };
  if (!single(a) && !single(b)) unsupported("test sameas: got a {} and a {}.", a.type_name(), b.type_name());
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  return a.is_bool() && b.is_bool() && a.truth() == b.truth();
}

int64_t remainder_of(const Value& a, const Value& b, Work& work) {
  const Value rest = binary("%", a, b, work);
  if (!rest.is_integer()) return rest.number() == 0 ? 0 : rest.number() == 1 ? 1 : 2;
  return rest.integer();
}

}  // namespace

bool apply_test(const std::string& name, const Value& value, const Call& call, Work& work) {
  work.spend(kStepWork);
  if (const auto result = test_kind(name, value)) {
    Bound(call, {});
    return *result;
  }
  const auto comparison = std::ranges::find(kComparisons, name, &Pair::first);
  if (comparison != kComparisons.end()) {
    return compare(std::string(comparison->second), value, Bound(call, {"other"}, 1).at(0), work);
  }
  if (name == "sameas") return same(value, Bound(call, {"other"}, 1).at(0));
  if (name == "odd" || name == "even") {
    Bound(call, {});
    return remainder_of(value, int64_t{2}, work) == (name == "odd" ? 1 : 0);
  }
  if (name == "divisibleby") return remainder_of(value, Bound(call, {"num"}, 1).at(0), work) == 0;
  if (name == "lower" || name == "upper") {
    Bound(call, {});
    const std::string text = to_text(value, work);
    return has_cased(text) && text == (name == "lower" ? lower(text) : upper(text));
  }
  unsupported("test: got {}, which we do not have.", quote(name));
}

}  // namespace scalebits::jinja
