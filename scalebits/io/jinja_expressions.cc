// SPDX-License-Identifier: Apache-2.0
/// Expressions of a template.
#include <algorithm>

#include "scalebits/io/jinja_parser.h"
#include "scalebits/io/jinja_text.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {
namespace {

/// Children of a node may be null.
size_t depth_of(const Node& node) { return node ? node->depth : 0; }

std::string without_underscores(std::string text) {
  std::erase(text, '_');
  return text;
}

}  // namespace

Node Parser::make(Kind kind, std::string name) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line();
  node->name = std::move(name);
  return node;
}

Node Parser::done(Node node) {
  size_t deepest = 0;
  for (const Node& child : node->children) deepest = std::max(deepest, depth_of(child));
  for (const Node& child : node->arguments.positional) deepest = std::max(deepest, depth_of(child));
  for (const auto& [name, child] : node->arguments.named) deepest = std::max(deepest, depth_of(child));
  node->depth = deepest + 1;
  if (node->depth > kMaxSyntaxDepth) unsupported("expression: got more than {} levels.", kMaxSyntaxDepth);
  return node;
}

Node Parser::expression() {
  const Level level(depth_);
  Node value = or_();
  while (skip_name("if")) {
    Node condition = or_();
    Node otherwise = skip_name("else") ? expression() : nullptr;
    value = made(Kind::kCondition, "", std::move(value), std::move(condition), std::move(otherwise));
  }
  return value;
}

bool Parser::at_tuple_end() const {
  return at(Token::Kind::kOutputEnd) || at(Token::Kind::kBlockEnd) || at_operator(")") || at_name("recursive");
}

/// One expression, or several with commas between, which are a tuple.
Node Parser::tuple(bool conditions) {
  Node items = make(Kind::kTuple);
  bool comma = false;
  while (!at_tuple_end()) {
    items->children.push_back(conditions ? expression() : or_());
    comma = skip_operator(",");
    if (!comma) break;
  }
  if (items->children.empty()) unexpected("an expression");
  if (items->children.size() == 1 && !comma) return std::move(items->children[0]);
  return done(std::move(items));
}

Node Parser::or_() {
  Node left = and_();
  while (skip_name("or")) left = made(Kind::kOr, "", std::move(left), and_());
  return left;
}

Node Parser::and_() {
  Node left = not_();
  while (skip_name("and")) left = made(Kind::kAnd, "", std::move(left), not_());
  return left;
}

Node Parser::not_() {
  const Level level(depth_);
  if (skip_name("not")) return made(Kind::kUnary, "not", not_());
  return comparison();
}

Node Parser::comparison() {
  Node node = make(Kind::kCompare);
  node->children.push_back(sum());
  for (;;) {
    constexpr std::string_view kOrders[] = {"==", "!=", "<", "<=", ">", ">="};
    if (at(Token::Kind::kOperator) && std::ranges::find(kOrders, current().text) != std::end(kOrders)) {
      node->names.push_back(take().text);
    } else if (skip_name("in")) {
      node->names.emplace_back("in");
    } else if (at_name("not") && ahead().kind == Token::Kind::kName && ahead().text == "in") {
      take();
      take();
      node->names.emplace_back("not in");
    } else {
      break;
    }
    node->children.push_back(sum());
  }
  return node->names.empty() ? std::move(node->children[0]) : done(std::move(node));
}

Node Parser::binary(Node (Parser::*operand)(), std::initializer_list<std::string_view> operators) {
  Node left = (this->*operand)();
  while (at(Token::Kind::kOperator) && std::ranges::find(operators, current().text) != operators.end()) {
    const std::string name = take().text;
    left = made(Kind::kBinary, name, std::move(left), (this->*operand)());
  }
  return left;
}

Node Parser::sum() { return binary(&Parser::concatenation, {"+", "-"}); }

Node Parser::concatenation() {
  Node node = make(Kind::kConcat);
  do node->children.push_back(product());
  while (skip_operator("~"));
  return node->children.size() == 1 ? std::move(node->children[0]) : done(std::move(node));
}

Node Parser::product() { return binary(&Parser::power, {"*", "/", "//", "%"}); }

Node Parser::power() {
  Node left = unary(true);
  while (skip_operator("**")) left = made(Kind::kBinary, "**", std::move(left), unary(true));
  return left;
}

Node Parser::unary(bool filters) {
  const Level level(depth_);
  Node node;
  if (at_operator("-") || at_operator("+")) {
    const std::string sign = take().text;
    node = made(Kind::kUnary, sign, unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return filters ? filtered(std::move(node)) : std::move(node);
}

Node Parser::primary() {
  if (at(Token::Kind::kName)) return name_or_constant();
  Node node = make(Kind::kConstant);
  if (at(Token::Kind::kString)) {
    std::string text;
    while (at(Token::Kind::kString)) text += take().text;
    node->value = Value(text);
    return node;
  }
  if (at(Token::Kind::kInteger)) {
    const auto value = parse_integer(without_underscores(take().text));
    if (!value) unsupported("integer: expected at most {}.", INT64_MAX);
    node->value = Value(*value);
    return node;
  }
  if (at(Token::Kind::kFloat)) {
    const auto value = parse_number(without_underscores(take().text));
    if (!value) unsupported("number: expected one that a double can hold.");
    node->value = Value(*value);
    return node;
  }
  if (at_operator("(")) return parenthesized();
  if (at_operator("[")) return list();
  if (at_operator("{")) return dict();
  unexpected("an expression");
}

Node Parser::name_or_constant() {
  Node node = make(Kind::kConstant);
  const std::string name = take().text;
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    node->value = Value(name == "true" || name == "True");
  } else if (name != "none" && name != "None") {
    if (macros_ > 0 && (name == "varargs" || name == "kwargs" || name == "caller")) {
      unsupported("macro: got the name {}, expected parameters that are written out.", name);
    }
    node->kind = Kind::kName;
    node->name = name;
  }
  return node;
}

Node Parser::parenthesized() {
  expect_operator("(");
  if (skip_operator(")")) return make(Kind::kTuple);
  Node node = tuple(true);
  expect_operator(")");
  return node;
}

Node Parser::list() {
  Node node = make(Kind::kList);
  expect_operator("[");
  while (!at_operator("]")) {
    if (!node->children.empty()) expect_operator(",");
    if (at_operator("]")) break;
    node->children.push_back(expression());
  }
  expect_operator("]");
  return done(std::move(node));
}

Node Parser::dict() {
  Node node = make(Kind::kDict);
  expect_operator("{");
  while (!at_operator("}")) {
    if (!node->children.empty()) expect_operator(",");
    if (at_operator("}")) break;
    node->children.push_back(expression());
    expect_operator(":");
    node->children.push_back(expression());
  }
  expect_operator("}");
  return done(std::move(node));
}

Node Parser::postfix(Node node) {
  for (;;) {
    if (at_operator(".") || at_operator("[")) {
      node = subscript(std::move(node));
    } else if (at_operator("(")) {
      Node call = make(Kind::kCall);
      call->children.push_back(std::move(node));
      call->arguments = arguments();
      node = done(std::move(call));
    } else {
      return node;
    }
  }
}

Node Parser::filtered(Node node) {
  for (;;) {
    if (at_operator("|")) {
      node = filter(std::move(node));
    } else if (at_name("is")) {
      node = test(std::move(node));
    } else if (at_operator("(")) {
      node = postfix(std::move(node));
    } else {
      return node;
    }
  }
}

Node Parser::subscript(Node of) {
  if (skip_operator(".")) {
    if (at(Token::Kind::kName)) {
      const std::string name = take().text;
      return made(Kind::kMember, name, std::move(of));
    }
    if (!at(Token::Kind::kInteger)) unexpected("a name or a number");
    return made(Kind::kItem, "", std::move(of), primary());
  }
  expect_operator("[");
  Node start, stop, step;
  bool is_slice = false;
  const auto absent = [&] { return at_operator(":") || at_operator("]"); };
  if (!absent()) start = expression();
  if (skip_operator(":")) {
    is_slice = true;
    if (!absent()) stop = expression();
    if (skip_operator(":") && !absent()) step = expression();
  }
  if (at_operator(",")) unsupported("subscript: got several, expected one.");
  expect_operator("]");
  if (is_slice) return made(Kind::kSlice, "", std::move(of), std::move(start), std::move(stop), std::move(step));
  if (!start) wrong("subscript: got none.");
  return made(Kind::kItem, "", std::move(of), std::move(start));
}

/// @param node  null inside {% filter %} and {% set | %}; one or more filters follow
Node Parser::filter(Node node) {
  do {
    expect_operator("|");
    Node next = make(Kind::kFilter, expect_name("the name of a filter"));
    next->children.push_back(std::move(node));
    if (at_operator("(")) next->arguments = arguments();
    node = done(std::move(next));
  } while (at_operator("|"));
  return node;
}

Node Parser::test(Node of) {
  take();
  const bool negated = skip_name("not");
  Node node = make(Kind::kTest, expect_name("the name of a test"));
  node->children.push_back(std::move(of));
  const bool value = at(Token::Kind::kName) || at(Token::Kind::kString) || at(Token::Kind::kInteger) ||
                     at(Token::Kind::kFloat) || at_operator("[") || at_operator("{");
  if (at_operator("(")) {
    node->arguments = arguments();
  } else if (at_name("is")) {
    wrong("test: got a second `is`, expected one.");
  } else if (value && !at_name("else") && !at_name("or") && !at_name("and")) {
    node->arguments.positional.push_back(postfix(primary()));
  }
  node = done(std::move(node));
  return negated ? made(Kind::kUnary, "not", std::move(node)) : std::move(node);
}

Arguments Parser::arguments() {
  Arguments result;
  expect_operator("(");
  bool first = true;
  while (!at_operator(")")) {
    if (!first) expect_operator(",");
    first = false;
    if (at_operator(")")) break;
    if (at_operator("*") || at_operator("**"))
      unsupported("call: got {}, expected arguments one by one.", current().text);
    if (at(Token::Kind::kName) && ahead().kind == Token::Kind::kOperator && ahead().text == "=") {
      std::string name = take().text;
      take();
      result.named.emplace_back(std::move(name), expression());
    } else {
      if (!result.named.empty()) wrong("call: got an argument without a name behind one with a name.");
      result.positional.push_back(expression());
    }
  }
  expect_operator(")");
  return result;
}

}  // namespace scalebits::jinja
