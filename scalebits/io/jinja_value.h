// SPDX-License-Identifier: Apache-2.0
/// Values of a Jinja template, with the behaviour that they have in Python.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "scalebits/io/jinja_limits.h"
#include "scalebits/io/json.h"

namespace scalebits::jinja {

class Value;
struct Statement;
class Scope;
using Values = std::vector<Value>;

/// What a name or a member that is not there gives: prints nothing, is false, has no elements; all else is an error.
struct Undefined {
  std::string what;  ///< for that error: "'tools' is undefined"
};
struct None {};

/// Whatever can be gone through. The forms differ in what else can be done with them.
struct Sequence {
  enum class Form {
    kList,
    kTuple,
    kRange,
    kView,      ///< dict.items(): has a length, but no index
    kIterator,  ///< of the filters map, select, ...: no length, true even when empty, and gone through once
  };
  Form form = Form::kList;
  Values items;
  mutable bool used_up = false;  ///< an iterator that was gone through
};

/// Keys are strings, in the order of insertion.
struct Dict {
  std::vector<std::pair<std::string, Value>> members;
  [[nodiscard]] const Value* find(std::string_view key) const;
  void set(const std::string& key, Value value);
};

/// The one thing that a template can change.
struct Namespace {
  Dict attributes;
};

/// A macro with the scope that it was defined in, or a function of the environment by name. Both outlive every value.
struct Function {
  std::string name;
  const Statement* macro = nullptr;
  Scope* scope = nullptr;
};

/// The variable `loop`.
struct Loop {
  std::shared_ptr<const Sequence> items;
  size_t index = 0;
};

class Value {
 public:
  using Text = std::shared_ptr<const std::string>;
  Value() : data_(None()) {}
  Value(bool value) : data_(value) {}                                                         // NOLINT: as in Python
  Value(int64_t value) : data_(value) {}                                                      // NOLINT
  Value(double value) : data_(value) {}                                                       // NOLINT
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}    // NOLINT
  Value(const char* text) : Value(std::string(text)) {}                                       // NOLINT
  Value(Undefined undefined) : data_(std::move(undefined)) {}                                 // NOLINT
  Value(Function function) : data_(std::make_shared<const Function>(std::move(function))) {}  // NOLINT
  Value(std::shared_ptr<const Loop> loop) : data_(std::move(loop)) {}                         // NOLINT
  Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}                        // NOLINT
  /// @throws Problem when lists in lists are nested too deep
  Value(Sequence sequence);  // NOLINT
  Value(Dict dict);          // NOLINT
  static Value list(Values items) { return Sequence{Sequence::Form::kList, std::move(items)}; }
  static Value tuple(Values items) { return Sequence{Sequence::Form::kTuple, std::move(items)}; }
  static Value iterator(Values items) { return Sequence{Sequence::Form::kIterator, std::move(items)}; }
  static Value from_json(const Json& json);

  [[nodiscard]] bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  [[nodiscard]] bool is_none() const { return std::holds_alternative<None>(data_); }
  [[nodiscard]] bool is_bool() const { return std::holds_alternative<bool>(data_); }
  [[nodiscard]] bool is_number() const { return is_integer() || std::holds_alternative<double>(data_); }
  [[nodiscard]] bool is_integer() const { return is_bool() || std::holds_alternative<int64_t>(data_); }
  [[nodiscard]] bool is_float() const { return std::holds_alternative<double>(data_); }

  // Null where the value is of another kind.
  [[nodiscard]] const Undefined* undefined() const { return std::get_if<Undefined>(&data_); }
  [[nodiscard]] const std::string* text() const { return pointee<const std::string>(); }
  [[nodiscard]] const Sequence* sequence() const { return pointee<const Sequence>(); }
  [[nodiscard]] const Dict* dict() const { return pointee<const Dict>(); }
  [[nodiscard]] const Function* function() const { return pointee<const Function>(); }
  [[nodiscard]] const Loop* loop() const { return pointee<const Loop>(); }
  [[nodiscard]] Namespace* name_space() const { return pointee<Namespace>(); }
  [[nodiscard]] std::shared_ptr<Namespace> shared_name_space() const {
    return std::get<std::shared_ptr<Namespace>>(data_);
  }

  [[nodiscard]] int64_t integer() const;  ///< of an integer or a bool (0, 1)
  [[nodiscard]] double number() const;    ///< of any number
  [[nodiscard]] bool truth() const;
  /// Python's name of the type, for messages.
  [[nodiscard]] std::string_view type_name() const;
  /// How many levels of lists and dicts there are below.
  [[nodiscard]] size_t depth() const { return depth_; }

 private:
  template <class T>
  [[nodiscard]] T* pointee() const {
    const auto* found = std::get_if<std::shared_ptr<T>>(&data_);
    return found == nullptr ? nullptr : found->get();
  }

  std::variant<Undefined, None, bool, int64_t, double, Text, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Dict>, std::shared_ptr<const Function>, std::shared_ptr<const Loop>,
               std::shared_ptr<Namespace>>
      data_;
  size_t depth_ = 0;
};

// What goes through values takes the work into account: a list may hold another twice, and so on, 64 levels deep.

/// Python's `==`.
bool equal(const Value& a, const Value& b, Work& work);
/// Python's str() and repr(). @throws Problem for what prints an address or its own kind
std::string to_text(const Value& value, Work& work);
std::string to_repr(const Value& value, Work& work);

struct JsonStyle {
  bool ascii = false, sorted = false;
  bool lines = false;  ///< each element on a line of its own, `indent` for each level
  std::string indent, comma = ", ", colon = ": ";
};
/// json.dumps(). @throws Problem for what JSON does not have
std::string to_json(const Value& value, const JsonStyle& style, Work& work);

}  // namespace scalebits::jinja
