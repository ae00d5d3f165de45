// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/jinja_renderer.h"

#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/io/jinja.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {

/// A scope that lasts for a block, and longer when a macro was defined in it.
class Renderer::InScope {
 public:
  InScope(Renderer& renderer, Scope* parent)
      : renderer_(renderer), before_(renderer.scope_), own_(std::make_unique<Scope>(parent)) {
    renderer_.work_.spend(4 * kStepWork);
    renderer_.scope_ = own_.get();
  }
  ~InScope() {
    renderer_.scope_ = before_;
    if (own_->holds_macro()) renderer_.kept_.push_back(std::move(own_));
  }
  InScope(const InScope&) = delete;
  InScope& operator=(const InScope&) = delete;

 private:
  Renderer& renderer_;
  Scope* before_;
  std::unique_ptr<Scope> own_;
};

const Value* Scope::find(const std::string& name, Work& work) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
    work.spend(scope->size());
    if (const Value* found = scope->names_.find(name)) return found;
  }
  return nullptr;
}

void Scope::set_macro(const std::string& name, Function macro) {
  set(name, std::move(macro));
  for (Scope* scope = this; scope != nullptr; scope = scope->parent_) scope->holds_macro_ = true;
}

Renderer::Renderer(const Json& variables, const std::tm& now) : now_(now) {
  SCALEBITS_CHECK(variables.is_object());
  for (const auto& [name, value] : variables.items()) variables_.set(name, Value::from_json(value));
}

Renderer::~Renderer() {
  for (const auto& space : namespaces_) space->attributes.members.clear();
}

std::string Renderer::render(const Block& block) { return captured(block); }

std::string Renderer::captured(const Block& block) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  run(block);
  out_ = outer;  // after an exception nothing is rendered any more
  return text;
}

void Renderer::emit(std::string_view text) {
  work_.spend(text.size());
  if (out_->size() + text.size() > kMaxOutputBytes) unsupported("output: got more than {} bytes.", kMaxOutputBytes);
  *out_ += text;
}

Renderer::Flow Renderer::run(const Block& block) {
  const Level level(depth_);
  for (const Statement& statement : block) {
    const Flow flow = run(statement);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Renderer::Flow Renderer::run(const Statement& s) {
  using Kind = Statement::Kind;
  line_ = s.line;
  work_.spend(kStepWork);
  switch (s.kind) {
    case Kind::kText:
      emit(s.name);
      break;
    case Kind::kOutput:
      emit(to_text(evaluate(*s.expression), work_));
      break;
    case Kind::kIf:
      return run_if(s);
    case Kind::kFor:
      run_for(s);
      break;
    case Kind::kSet:
    case Kind::kSetBlock:
      run_set(s);
      break;
    case Kind::kMacro:
      define(s);
      break;
    case Kind::kScope: {
      const InScope inside(*this, scope_);
      return run(s.body);
    }
    case Kind::kFilter: {
      const InScope inside(*this, scope_);
      emit(to_text(filtered_text(s.expression.get(), captured(s.body)), work_));
      break;
    }
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

Renderer::Flow Renderer::run_if(const Statement& s) {
  for (const auto& [condition, block] : s.branches) {
    if (!condition || evaluate(*condition).truth()) return run(block);
  }
  return Flow::kOn;
}

void Renderer::run_for(const Statement& s) {
  Values items = elements(evaluate(*s.expression), work_);
  if (s.condition) {
    std::erase_if(items, [&](const Value& item) {
      const InScope inside(*this, scope_);
      assign(s.target, item);
      return !evaluate(*s.condition).truth();
    });
  }
  if (items.empty()) {
    const InScope inside(*this, scope_);
    run(s.otherwise);
    return;
  }
  auto all = std::make_shared<Sequence>();
  all->items = std::move(items);
  for (size_t i = 0; i < all->items.size(); ++i) {
    const InScope inside(*this, scope_);
    assign(s.target, all->items[i]);
    scope_->set("loop", std::make_shared<const Loop>(Loop{all, i}));
    if (run(s.body) == Flow::kBreak) break;
  }
}

void Renderer::run_set(const Statement& s) {
  if (s.kind == Statement::Kind::kSet) {
    assign(s.target, evaluate(*s.expression));
    return;
  }
  Value value;
  {
    const InScope inside(*this, scope_);
    value = filtered_text(s.expression.get(), captured(s.body));
  }
  assign(s.target, value);
}

Value Renderer::filtered_text(const Expression* filters, const std::string& text) {
  const Value value(text);
  return filters == nullptr ? value : evaluate(*filters, &value);
}

void Renderer::assign(const Target& target, const Value& value) {
  work_.spend(scope_->size() + kStepWork);
  if (!target.attribute.empty()) {
    const Value* space = scope_->find(target.names[0], work_);
    if (space == nullptr || space->name_space() == nullptr) {
      wrong("set: {} is no namespace, and only those have attributes to assign to.", target.names[0]);
    }
    if (target.attribute.starts_with('_'))
      wrong("set: got the attribute {}, expected no underscore first.", target.attribute);
    work_.spend(space->name_space()->attributes.members.size());
    space->name_space()->attributes.set(target.attribute, value);
  } else if (!target.is_tuple) {
    scope_->set(target.names[0], value);
  } else {
    const Values parts = elements(defined(value), work_);
    if (parts.size() != target.names.size()) {
      wrong("assignment: got {} values, expected {}.", parts.size(), target.names.size());
    }
    for (size_t i = 0; i < parts.size(); ++i) scope_->set(target.names[i], parts[i]);
  }
}

void Renderer::define(const Statement& macro) {
  work_.spend(64 * kStepWork);  // its scope stays
  scope_->set_macro(macro.name, Function{macro.name, &macro, scope_});
}

Value Renderer::call_macro(const Function& function, const Call& call) {
  const Statement& macro = *function.macro;
  const Level level(depth_);
  const int line = line_;
  work_.spend(macro.parameters.size() * (call.named.size() + 1 + macro.parameters.size()));
  if (call.positional.size() > macro.parameters.size()) {
    wrong("macro {}: got {} arguments, expected at most {}.", macro.name, call.positional.size(),
          macro.parameters.size());
  }
  for (const auto& [name, value] : call.named) {
    const auto found = std::ranges::find(macro.parameters, name, [](const auto& parameter) { return parameter.first; });
    const bool known = found != macro.parameters.end();
    if (!known || found - macro.parameters.begin() < static_cast<std::ptrdiff_t>(call.positional.size())) {
      wrong("macro {}: got {} {}.", macro.name, quote(name),
            known ? "twice" : "as an argument, which it does not have");
    }
  }
  const InScope inside(*this, function.scope);
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& [name, fallback] = macro.parameters[i];
    const auto named = std::ranges::find(call.named, name, [](const auto& argument) { return argument.first; });
    if (i < call.positional.size()) {
      scope_->set(name, call.positional[i]);
    } else if (named != call.named.end()) {
      scope_->set(name, named->second);
    } else {
      scope_->set(name, fallback ? evaluate(*fallback)
                                 : Value(Undefined{fmt::format("parameter {} was not given", quote(name))}));
    }
  }
  std::string text = captured(macro.body);
  line_ = line;
  return text;
}

}  // namespace scalebits::jinja

namespace scalebits {

struct JinjaTemplate::Impl {
  std::string where;
  jinja::Block block;
};

JinjaTemplate::JinjaTemplate(std::string_view text, std::string where) {
  jinja::Block block = jinja::parse_template(text, where);
  impl_ = std::make_unique<const Impl>(Impl{std::move(where), std::move(block)});
}
JinjaTemplate::~JinjaTemplate() = default;
JinjaTemplate::JinjaTemplate(JinjaTemplate&&) noexcept = default;
JinjaTemplate& JinjaTemplate::operator=(JinjaTemplate&&) noexcept = default;

std::string JinjaTemplate::render(const Json& variables, const std::tm& now) const {
  std::string place = impl_->where;
  try {
    jinja::Renderer renderer(variables, now);
    try {
      return renderer.render(impl_->block);
    } catch (const jinja::Problem&) {
      place += fmt::format(":{}", renderer.line());
      throw;
    }
  } catch (const jinja::Problem& problem) {
    const std::string text = problem.text.substr(0, 500);
    switch (problem.kind) {
      case jinja::Problem::Kind::kWrong:
        fail<FormatError>(place, "{}", text);
      case jinja::Problem::Kind::kUnsupported:
        fail<Unsupported>(place, "{}", text);
      case jinja::Problem::Kind::kRaised:
        fail<InvalidArgument>(place, "the template refuses this: {}", text);
    }
  }
  check_failed(__FILE__, __LINE__, "refused");
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm result{};
  localtime_r(&now, &result);
  return result;
}

}  // namespace scalebits
