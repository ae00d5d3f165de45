// SPDX-License-Identifier: Apache-2.0
/// Methods of strings, lists and dicts.
#include <algorithm>
#include <array>

#include "scalebits/io/jinja_calls.h"
#include "scalebits/io/jinja_text.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {
namespace {

/// What Python's types have: an attribute of these names is a method, not a member of a dict.
constexpr std::array<std::string_view, 11> kOfDict = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                                                      "pop",   "popitem", "setdefault", "update", "values"};
constexpr std::array<std::string_view, 11> kOfList = {"append", "clear", "copy",   "count",   "extend", "index",
                                                      "insert", "pop",   "remove", "reverse", "sort"};
constexpr std::array<std::string_view, 47> kOfText = {
    "capitalize",   "casefold",   "center",    "count",       "encode",    "endswith",     "expandtabs",   "find",
    "format",       "format_map", "index",     "isalnum",     "isalpha",   "isascii",      "isdecimal",    "isdigit",
    "isidentifier", "islower",    "isnumeric", "isprintable", "isspace",   "istitle",      "isupper",      "join",
    "ljust",        "lower",      "lstrip",    "maketrans",   "partition", "removeprefix", "removesuffix", "replace",
    "rfind",        "rindex",     "rjust",     "rpartition",  "rsplit",    "rstrip",       "split",        "splitlines",
    "startswith",   "strip",      "swapcase",  "title",       "translate", "upper",        "zfill"};

template <size_t N>
bool is_in(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool has_method(const Value& of, std::string_view name) {
  if (of.text() != nullptr) return is_in(kOfText, name);
  if (of.dict() != nullptr) return is_in(kOfDict, name);
  return of.sequence() != nullptr && is_in(kOfList, name);
}

Value from_strings(const std::vector<std::string>& parts, Work& work) {
  work.spend(parts.size() * kStepWork);
  return Value::list(Values(parts.begin(), parts.end()));
}

/// str.startswith() and endswith(): one string or a tuple of them.
bool has_end(const std::string& text, const Bound& bound, bool at_start) {
  if (bound.get(1) != nullptr) unsupported("str.startswith: got a start, expected one argument.");
  const auto fits = [&](const Value& part) {
    const std::string& end = text_of(part, at_start ? "str.startswith" : "str.endswith");
    return at_start ? text.starts_with(end) : text.ends_with(end);
  };
  const Sequence* several = bound.at(0).sequence();
  return several != nullptr ? std::ranges::any_of(several->items, fits) : fits(bound.at(0));
}

Value parted(const std::string& text, const std::string& separator, bool from_right) {
  if (separator.empty()) wrong("str.partition: got an empty separator.");
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos && from_right) return Value::tuple({"", "", text});
  if (at == std::string::npos) return Value::tuple({text, "", ""});
  return Value::tuple({text.substr(0, at), separator, text.substr(at + separator.size())});
}

Value found_at(const std::string& text, const std::string& part, bool from_right) {
  const size_t at = from_right ? text.rfind(part) : text.find(part);
  return at == std::string::npos ? int64_t{-1} : count_characters(std::string_view(text).substr(0, at));
}

int64_t count_of(const std::string& text, const std::string& part) {
  if (part.empty()) return count_characters(text) + 1;
  int64_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

Value joined(const std::string& separator, const Value& items, Work& work) {
  std::string out;
  bool first = true;
  for (const Value& item : elements(defined(items), work)) {
    if (!first) out += separator;
    first = false;
    out += text_of(item, "str.join");
    work.spend(separator.size() + item.text()->size());
  }
  return out;
}

Value text_method(const std::string& text, const std::string& name, const Call& call, Work& work) {
  work.spend(2 * text.size());
  for (const Value& argument : call.positional) {  // what is searched for, or a set of characters to strip
    if (argument.text() != nullptr) work.spend(search_work(text, *argument.text()));
  }
  for (const auto& [parameter, argument] : call.named) {
    if (argument.text() != nullptr) work.spend(search_work(text, *argument.text()));
  }
  const auto none = [&] { Bound(call, {}); };
  const auto one = [&]() -> std::string { return text_of(Bound(call, {"value"}, 1).at(0), call.what); };
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Side side = name == "strip" ? Side::kBoth : name == "lstrip" ? Side::kLeft : Side::kRight;
    return std::string(strip(text, side, Bound(call, {"chars"}).text(0)));
  }
  if (name == "split" || name == "rsplit") {
    const Bound bound(call, {"sep", "maxsplit"});
    const auto separator = bound.text(0);
    if (separator && separator->empty()) wrong("str.split: got an empty separator.");
    return from_strings(split(text, separator, bound.integer(1, -1), name == "rsplit"), work);
  }
  if (name == "splitlines") return from_strings(split_lines(text, Bound(call, {"keepends"}).flag(0)), work);
  if (name == "startswith" || name == "endswith") {
    return has_end(text, Bound(call, {"value", "start"}, 1), name == "startswith");
  }
  if (name == "replace") {
    const Bound bound(call, {"old", "new", "count"}, 2);
    const std::string from = text_of(bound.at(0), "str.replace"), to = text_of(bound.at(1), "str.replace");
    const auto places = static_cast<size_t>(count_of(text, from));
    if (!to.empty() && places > kMaxWork / to.size()) work.spend(kMaxWork);
    work.spend(places * to.size());
    return replace(text, from, to, bound.integer(2, -1));
  }
  if (name == "upper") return none(), upper(text);
  if (name == "lower") return none(), lower(text);
  if (name == "title") return none(), title(text);
  if (name == "capitalize") return none(), capitalize(text);
  if (name == "join") return joined(text, Bound(call, {"iterable"}, 1).at(0), work);
  if (name == "find" || name == "rfind") return found_at(text, one(), name == "rfind");
  if (name == "count") return count_of(text, one());
  if (name == "partition" || name == "rpartition") return parted(text, one(), name == "rpartition");
  if (name == "removeprefix") return text.starts_with(one()) ? text.substr(one().size()) : text;
  if (name == "removesuffix") return text.ends_with(one()) ? text.substr(0, text.size() - one().size()) : text;
  unsupported("method: got {} of a string, which we do not have.", quote(name));
}

Value dict_method(const Dict& dict, const std::string& name, const Call& call, Work& work) {
  work.spend(dict.members.size() * kStepWork);
  if (name == "get") {
    const Bound bound(call, {"key", "default"}, 1);
    const Value* found = bound.at(0).text() != nullptr ? dict.find(*bound.at(0).text()) : nullptr;
    return found != nullptr ? *found : bound.get(1) != nullptr ? bound.at(1) : Value();
  }
  if (name != "items" && name != "keys" && name != "values") {
    unsupported("method: got {} of a dict, which we do not have.", quote(name));
  }
  Bound(call, {});
  Sequence view{.form = Sequence::Form::kView, .items = {}};
  for (const auto& [key, value] : dict.members) {
    view.items.push_back(name == "keys" ? Value(key) : name == "values" ? value : Value::tuple({key, value}));
  }
  return view;
}

Value list_method(const Sequence& list, const std::string& name, const Call& call, Work& work) {
  if (name != "count" && name != "index") unsupported("method: got {} of a list, which we do not have.", quote(name));
  const Value what = Bound(call, {"value"}, 1).at(0);
  int64_t n = 0;
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (!equal(list.items[i], what, work)) continue;
    if (name == "index") return static_cast<int64_t>(i);
    ++n;
  }
  if (name == "index") wrong("list.index: got a value that is not in the list.");
  return n;
}

}  // namespace

void check_attribute(const Value& of, std::string_view name) {
  if (has_method(of, name)) unsupported("method: got {} of a {} without a call.", quote(name), of.type_name());
  if (of.function() != nullptr) unsupported("attribute: got {} of a {}.", quote(name), of.type_name());
}

Value call_method(const Value& self, const std::string& name, const Call& call, Work& work) {
  if (has_method(self, name)) {
    if (self.text() != nullptr) return text_method(*self.text(), name, call, work);
    if (self.dict() != nullptr) return dict_method(*self.dict(), name, call, work);
    return list_method(*self.sequence(), name, call, work);
  }
  if (self.loop() != nullptr && name == "cycle") {
    if (call.positional.empty() || !call.named.empty()) wrong("loop.cycle: expected values.");
    return call.positional[self.loop()->index % call.positional.size()];
  }
  defined(get_member(self, name, work));
  unsupported("call: got the attribute {} of a {}, expected a method or a macro.", quote(name), self.type_name());
}

}  // namespace scalebits::jinja
