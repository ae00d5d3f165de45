// SPDX-License-Identifier: Apache-2.0
/// Expressions while a template is rendered.
#include "scalebits/base/errors.h"
#include "scalebits/io/jinja_renderer.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {

Value Renderer::evaluate(const Expression& e, const Value* text) {
  using Kind = Expression::Kind;
  const Level level(depth_);
  work_.spend(kStepWork);
  line_ = e.line;
  const auto child = [&](size_t i) { return evaluate(*e.children[i], text); };
  switch (e.kind) {
    case Kind::kConstant:
      return e.value;
    case Kind::kName:
      return name(e);
    case Kind::kMember:
      return get_member(child(0), e.name, work_);
    case Kind::kItem: {
      const Value of = child(0);
      return get_item(of, child(1), work_);
    }
    case Kind::kSlice:
      return evaluate_slice(e);
    case Kind::kCall:
      return evaluate_call(e);
    case Kind::kFilter: {
      const Value value = e.children[0] ? child(0) : *text;
      return apply_filter(e.name, value, evaluate_arguments(e, "filter " + e.name), work_);
    }
    case Kind::kTest: {
      const Value value = child(0);
      return apply_test(e.name, value, evaluate_arguments(e, "test " + e.name), work_);
    }
    case Kind::kUnary:
      return unary(e.name, child(0));
    case Kind::kBinary: {
      const Value left = child(0);
      return binary(e.name, left, child(1), work_);
    }
    case Kind::kAnd:
    case Kind::kOr: {
      const Value left = child(0);
      return left.truth() == (e.kind == Kind::kOr) ? left : child(1);
    }
    case Kind::kCompare:
      return evaluate_compare(e);
    case Kind::kConcat:
      return evaluate_concat(e);
    case Kind::kCondition:
      if (child(1).truth()) return child(0);
      return e.children[2] ? child(2) : Value(Undefined{"the condition is false, and there is no else"});
    case Kind::kList:
      return Value::list(evaluate_all(e.children));
    case Kind::kTuple:
      return Value::tuple(evaluate_all(e.children));
    case Kind::kDict:
      return evaluate_dict(e);
  }
  check_failed(__FILE__, __LINE__, "known kind");
}

Value Renderer::name(const Expression& e) {
  if (const Value* found = scope_->find(e.name, work_)) return *found;
  if (is_function(e.name)) return Function{.name = e.name};
  return Undefined{fmt::format("{} is undefined", quote(e.name))};
}

Values Renderer::evaluate_all(const std::vector<Node>& nodes) {
  Values values;
  for (const Node& node : nodes) values.push_back(evaluate(*node));
  return values;
}

Call Renderer::evaluate_arguments(const Expression& e, const std::string& what) {
  Call call{what, evaluate_all(e.arguments.positional), {}};
  for (const auto& [name, node] : e.arguments.named) call.named.emplace_back(name, evaluate(*node));
  return call;
}

Value Renderer::evaluate_call(const Expression& e) {
  const Expression& callee = *e.children[0];
  if (callee.kind == Expression::Kind::kMember) {
    const Value self = evaluate(*callee.children[0]);
    // A macro that a namespace or a dict holds; all else is a method.
    const Dict* members = self.name_space() != nullptr ? &self.name_space()->attributes : self.dict();
    const Value* held = members != nullptr ? members->find(callee.name) : nullptr;
    if (held == nullptr || held->function() == nullptr) {
      const Call call = evaluate_arguments(e, fmt::format("{}.{}", self.type_name(), callee.name));
      return call_method(defined(self), callee.name, call, work_);
    }
  }
  const Value function = evaluate(callee);
  if (defined(function).function() == nullptr) wrong("call: got a {}, which cannot be called.", function.type_name());
  const Function& f = *function.function();
  const Call call = evaluate_arguments(e, f.name);
  line_ = e.line;
  if (f.macro != nullptr) return call_macro(f, call);
  Value result = call_function(f.name, call, now_, work_);
  if (f.name == "namespace") namespaces_.push_back(result.shared_name_space());
  return result;
}

Value Renderer::evaluate_compare(const Expression& e) {
  Value left = evaluate(*e.children[0]);
  for (size_t i = 0; i < e.names.size(); ++i) {
    Value right = evaluate(*e.children[i + 1]);
    if (!compare(e.names[i], left, right, work_)) return false;
    left = std::move(right);
  }
  return true;
}

Value Renderer::evaluate_concat(const Expression& e) {
  std::string text;
  for (const Node& node : e.children) text += to_text(evaluate(*node), work_);
  return text;
}

Value Renderer::evaluate_dict(const Expression& e) {
  Dict dict;
  for (size_t i = 0; i < e.children.size(); i += 2) {
    const Value key = evaluate(*e.children[i]);
    if (defined(key).text() == nullptr)
      unsupported("dict: got a key of the type {}, expected strings.", key.type_name());
    work_.spend(dict.members.size());
    dict.set(*key.text(), evaluate(*e.children[i + 1]));
  }
  return dict;
}

Value Renderer::evaluate_slice(const Expression& e) {
  const Value of = evaluate(*e.children[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (e.children[i + 1]) bounds[i] = evaluate(*e.children[i + 1]);
  }
  return get_slice(of, bounds[0], bounds[1], bounds[2], work_);
}

}  // namespace scalebits::jinja
