// SPDX-License-Identifier: Apache-2.0
/// Runs the tree of a template.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "scalebits/io/jinja_calls.h"
#include "scalebits/io/jinja_syntax.h"

namespace scalebits::jinja {

/// Names of one level: the template, one turn of a loop, one call of a macro. `if` has none of its own.
class Scope {
 public:
  explicit Scope(Scope* parent) : parent_(parent) {}
  [[nodiscard]] Scope* parent() const { return parent_; }
  /// Here or further out. @param work  what the search costs
  const Value* find(const std::string& name, Work& work) const;
  void set(const std::string& name, Value value) { names_.set(name, std::move(value)); }
  /// The scope, and those around it, must then last as long as any value.
  void set_macro(const std::string& name, Function macro);
  [[nodiscard]] bool holds_macro() const { return holds_macro_; }
  [[nodiscard]] size_t size() const { return names_.members.size(); }

 private:
  Scope* parent_;
  bool holds_macro_ = false;
  Dict names_;
};

/// Throws Problem; line() is then where it is.
class Renderer {
 public:
  Renderer(const Json& variables, const std::tm& now);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  std::string render(const Block& block);
  [[nodiscard]] int line() const { return line_; }

 private:
  enum class Flow { kOn, kBreak, kContinue };
  /// Enters a scope, or a level of the stack; leaves it at the end.
  class Level;
  class InScope;

  // Statements (jinja_renderer.cc).
  Flow run(const Block& block);
  Flow run(const Statement& s);
  Flow run_if(const Statement& s);
  void run_for(const Statement& s);
  void run_set(const Statement& s);
  void define(const Statement& macro);
  void assign(const Target& target, const Value& value);
  std::string captured(const Block& block);
  void emit(std::string_view text);
  Value call_macro(const Function& function, const Call& call);
  Value filtered_text(const Expression* filters, const std::string& text);

  // Expressions (jinja_evaluate.cc). @param text  what a filter without a value works on
  Value evaluate(const Expression& e, const Value* text = nullptr);
  Value name(const Expression& e);
  Value evaluate_call(const Expression& e);
  Value evaluate_compare(const Expression& e);
  Value evaluate_concat(const Expression& e);
  Value evaluate_dict(const Expression& e);
  Value evaluate_slice(const Expression& e);
  Values evaluate_all(const std::vector<Node>& nodes);
  Call evaluate_arguments(const Expression& e, const std::string& what);

  Work work_{kMaxWork};
  std::tm now_;
  int line_ = 1;
  size_t depth_ = 0;
  std::string* out_ = nullptr;
  std::vector<std::unique_ptr<Scope>> kept_;            ///< scopes that a macro was defined in
  std::vector<std::shared_ptr<Namespace>> namespaces_;  ///< emptied at the end: one may hold itself
  Scope variables_{nullptr}, top_{&variables_};
  Scope* scope_ = &top_;
};

class Renderer::Level {
 public:
  explicit Level(size_t& depth) : depth_(depth) {
    if (depth_ >= kMaxRenderDepth)
      unsupported("nesting: got more than {} levels. Does a macro call itself?", kMaxRenderDepth);
    ++depth_;
  }
  ~Level() { --depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  size_t& depth_;
};

}  // namespace scalebits::jinja
