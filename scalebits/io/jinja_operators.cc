// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "scalebits/io/jinja_calls.h"
#include "scalebits/io/jinja_text.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {
namespace {

bool indexed(const Sequence& s) { return s.form != Sequence::Form::kView && s.form != Sequence::Form::kIterator; }

Value loop_member(const Loop& loop, const std::string& name) {
  const auto n = static_cast<int64_t>(loop.items->items.size()), i = static_cast<int64_t>(loop.index);
  const auto neighbour = [&](bool there, size_t index, const char* which) {
    return there ? loop.items->items[index] : Value(Undefined{fmt::format("there is no {} item", which)});
  };
  if (name == "index") return i + 1;
  if (name == "index0") return i;
  if (name == "revindex") return n - i;
  if (name == "revindex0") return n - i - 1;
  if (name == "first") return i == 0;
  if (name == "last") return i + 1 == n;
  if (name == "length") return n;
  if (name == "depth") return int64_t{1};  // of recursive loops, which we do not have
  if (name == "depth0") return int64_t{0};
  if (name == "previtem") return neighbour(i > 0, loop.index - 1, "previous");
  if (name == "nextitem") return neighbour(i + 1 < n, loop.index + 1, "next");
  unsupported("loop.{}: not there, or not without a call.", name);
}

[[noreturn]] void no_operator(const std::string& op, const Value& a, const Value& b) {
  wrong("{}: got {} and {}, which do not go together.", op, defined(a).type_name(), defined(b).type_name());
}

Value integer_result(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  if (op == "+") overflows = __builtin_add_overflow(a, b, &result);
  if (op == "-") overflows = __builtin_sub_overflow(a, b, &result);
  if (op == "*") overflows = __builtin_mul_overflow(a, b, &result);
  if (op == "//" || op == "%") {
    if (b == 0) wrong("{}: division by zero.", op);
    if (b == -1) {  // the one quotient that may not fit
      overflows = op == "//" && __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {
      const int64_t down = a % b != 0 && (a < 0) != (b < 0) ? 1 : 0;  // Python rounds down
      result = op == "//" ? a / b - down : a % b + down * b;
    }
  }
  if (op == "**") {
    result = 1;
    if (a == 0 || a == 1) return b == 0 ? int64_t{1} : a;
    if (a == -1) return b % 2 == 0 ? int64_t{1} : int64_t{-1};
    for (int64_t i = 0; i < b && !overflows; ++i) overflows = __builtin_mul_overflow(result, a, &result);
  }
  if (overflows) unsupported("{}: got an integer that 64 bits cannot hold.", op);
  return result;
}

Value float_result(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") {
    if ((a == 0 && b < 0) || (a < 0 && b != std::floor(b))) unsupported("**: got {} and {}.", a, b);
    return std::pow(a, b);
  }
  if (b == 0) wrong("{}: division by zero.", op);
  if (op == "/") return a / b;
  const double rest = std::fmod(a, b), modulo = rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  return op == "%" ? modulo : std::floor((a - modulo) / b + 0.5);
}

Value repeated(const Value& what, int64_t times, Work& work) {
  const auto n = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (const std::string* text = what.text()) {
    if (!text->empty() && n > kMaxWork / text->size()) work.spend(kMaxWork);
    work.spend(n * text->size());
    std::string out;
    for (size_t i = 0; i < n; ++i) out += *text;
    return out;
  }
  const Values& items = what.sequence()->items;
  if (!items.empty() && n > kMaxWork / kStepWork / items.size()) work.spend(kMaxWork);
  work.spend(n * items.size() * kStepWork);
  Values out;
  for (size_t i = 0; i < n; ++i) out.insert(out.end(), items.begin(), items.end());
  return Sequence{what.sequence()->form, std::move(out)};
}

bool is_array(const Value& v) {
  return v.sequence() != nullptr &&
         (v.sequence()->form == Sequence::Form::kList || v.sequence()->form == Sequence::Form::kTuple);
}

/// Python's order; an error between kinds.
int order(const std::string& op, const Value& a, const Value& b, Work& work) {
  work.spend(1);
  const auto sign = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : 0; };
  if (a.is_integer() && b.is_integer()) return sign(a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return sign(a.number(), b.number());
  if (a.text() != nullptr && b.text() != nullptr) {
    work.spend(std::min(a.text()->size(), b.text()->size()) / 16);
    return a.text()->compare(*b.text());
  }
  if (!is_array(a) || !is_array(b) || a.sequence()->form != b.sequence()->form) no_operator(op, a, b);
  const Values &x = a.sequence()->items, &y = b.sequence()->items;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!equal(x[i], y[i], work)) return order(op, x[i], y[i], work);
  }
  return sign(x.size(), y.size());
}

bool contains(const Value& in, const Value& what, Work& work) {
  if (const std::string* text = in.text()) {
    const std::string& part = text_of(what, "in");
    work.spend(search_work(*text, part));
    return text->find(part) != std::string::npos;
  }
  if (in.dict() != nullptr) {
    work.spend(in.dict()->members.size());
    return what.text() != nullptr && in.dict()->find(*what.text()) != nullptr;
  }
  const Values items = elements(in, work);
  return std::ranges::any_of(items, [&](const Value& item) { return equal(item, what, work); });
}

}  // namespace

const Value& defined(const Value& value) {
  if (const Undefined* undefined = value.undefined()) wrong("undefined: {}.", undefined->what);
  return value;
}

const std::string& text_of(const Value& value, std::string_view what) {
  if (defined(value).text() == nullptr) wrong("{}: got a {}, expected a string.", what, value.type_name());
  return *value.text();
}

Value get_member(const Value& of, const std::string& name, Work& work) {
  defined(of);
  if (name.starts_with("__")) unsupported("attribute: got {}, expected one that is no internal of Python.", name);
  if (of.loop() != nullptr) return loop_member(*of.loop(), name);
  check_attribute(of, name);
  const Dict* members = of.dict() != nullptr ? of.dict() : of.name_space() ? &of.name_space()->attributes : nullptr;
  if (members != nullptr) {
    work.spend(members->members.size());
    if (const Value* found = members->find(name)) return *found;
  }
  return Undefined{fmt::format("{} has no attribute {}", of.type_name(), quote(name))};
}

Value get_item(const Value& of, const Value& key, Work& work) {
  defined(of);
  if (key.text() != nullptr && of.dict() != nullptr) {
    work.spend(of.dict()->members.size());
    if (const Value* found = of.dict()->find(*key.text())) return *found;
  }
  if (key.text() != nullptr) return get_member(of, *key.text(), work);
  const Sequence* s = of.sequence();
  const bool list = s != nullptr && indexed(*s);
  if (key.is_integer() && (list || of.text() != nullptr)) {
    if (of.text() != nullptr) work.spend(of.text()->size());
    const auto n = list ? static_cast<int64_t>(s->items.size()) : count_characters(*of.text());
    const int64_t index = key.integer() < 0 ? key.integer() + n : key.integer();
    if (index >= 0 && index < n) {
      const auto i = static_cast<size_t>(index);
      return list ? s->items[i] : Value(std::string(characters(*of.text())[i]));
    }
    return Undefined{fmt::format("{} has no element {}", of.type_name(), key.integer())};
  }
  return Undefined{fmt::format("{} has no element of that kind", of.type_name())};
}

Value get_slice(const Value& of, const Value& start, const Value& stop, const Value& step, Work& work) {
  defined(of);
  const auto bound = [](const Value& v) -> std::optional<int64_t> {
    if (v.is_none()) return std::nullopt;
    if (!defined(v).is_integer()) wrong("slice: got a {}, expected integers.", v.type_name());
    return v.integer();
  };
  const int64_t stride = bound(step).value_or(1);
  if (stride == 0) wrong("slice: got the step 0.");
  if (const std::string* text = of.text()) {
    work.spend(text->size());
    const std::vector<std::string_view> parts = characters(*text);
    std::string out;
    for (const size_t i : slice(parts.size(), bound(start), bound(stop), stride)) out += parts[i];
    return out;
  }
  const Sequence* s = of.sequence();
  if (s == nullptr || !indexed(*s)) return Undefined{fmt::format("{} has no slices", of.type_name())};
  work.spend(s->items.size());
  Values out;
  for (const size_t i : slice(s->items.size(), bound(start), bound(stop), stride)) out.push_back(s->items[i]);
  return Sequence{s->form, std::move(out)};
}

Value unary(const std::string& op, const Value& x) {
  if (op == "not") return !x.truth();
  if (!defined(x).is_number()) wrong("{}: got a {}, expected a number.", op, x.type_name());
  if (x.is_float()) return op == "-" ? -x.number() : x.number();
  return op == "-" ? integer_result("-", 0, x.integer()) : Value(x.integer());
}

Value binary(const std::string& op, const Value& a, const Value& b, Work& work) {
  if (defined(a).is_number() && defined(b).is_number()) {
    const bool whole = a.is_integer() && b.is_integer() && op != "/" && !(op == "**" && b.integer() < 0);
    return whole ? integer_result(op, a.integer(), b.integer()) : float_result(op, a.number(), b.number());
  }
  if (op == "%" && a.text() != nullptr) unsupported("%: got a string to format, expected ~ or +.");
  if (op == "+" && a.text() != nullptr && b.text() != nullptr) {
    work.spend(a.text()->size() + b.text()->size());
    return *a.text() + *b.text();
  }
  if (op == "+" && is_array(a) && is_array(b) && a.sequence()->form == b.sequence()->form) {
    Values items = a.sequence()->items;
    work.spend((items.size() + b.sequence()->items.size()) * kStepWork);
    items.insert(items.end(), b.sequence()->items.begin(), b.sequence()->items.end());
    return Sequence{a.sequence()->form, std::move(items)};
  }
  if (op == "*" && b.is_integer() && (a.text() != nullptr || is_array(a))) return repeated(a, b.integer(), work);
  if (op == "*" && a.is_integer() && (b.text() != nullptr || is_array(b))) return repeated(b, a.integer(), work);
  no_operator(op, a, b);
}

bool compare(const std::string& op, const Value& a, const Value& b, Work& work) {
  if (op == "==") return equal(a, b, work);
  if (op == "!=") return !equal(a, b, work);
  if (op == "in") return contains(b, a, work);
  if (op == "not in") return !contains(b, a, work);
  const int sign = order(op, a, b, work);
  if (op == "<") return sign < 0;
  if (op == "<=") return sign <= 0;
  return op == ">" ? sign > 0 : sign >= 0;
}

Values elements(const Value& of, Work& work) {
  if (of.is_undefined()) return {};
  Values out;
  if (const std::string* text = of.text()) {
    work.spend(text->size() * kStepWork);
    for (const std::string_view c : characters(*text)) out.emplace_back(std::string(c));
    return out;
  }
  if (const Dict* dict = of.dict()) {
    work.spend(dict->members.size() * kStepWork);
    for (const auto& [key, value] : dict->members) out.emplace_back(key);
    return out;
  }
  const Sequence* s = of.sequence();
  if (s == nullptr) wrong("elements: got a {}, which has none.", of.type_name());
  if (s->used_up) return {};
  s->used_up = s->form == Sequence::Form::kIterator;
  work.spend(s->items.size() * kStepWork);
  return s->items;
}

Value get_path(const Value& of, const Value& path, Work& work) {
  if (path.text() == nullptr) return get_item(of, path, work);
  work.spend(path.text()->size());
  Value found = of;
  for (const std::string& part : split(*path.text(), ".", -1, false)) {
    const bool digits = !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    const auto index = digits ? parse_integer(part) : std::nullopt;
    found = get_item(found, index ? Value(*index) : Value(part), work);
  }
  return found;
}

}  // namespace scalebits::jinja
