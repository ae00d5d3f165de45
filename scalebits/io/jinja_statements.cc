// SPDX-License-Identifier: Apache-2.0
/// Statements of a template, and the way in.
#include <algorithm>
#include <array>

#include "scalebits/base/errors.h"
#include "scalebits/io/jinja_parser.h"
#include "scalebits/io/text.h"

namespace scalebits::jinja {
namespace {

/// Statements of Jinja that chat templates do not need.
constexpr std::array<std::string_view, 10> kRefused = {"include", "import", "from", "extends",    "block",
                                                       "call",    "with",   "do",   "autoescape", "trans"};

std::string shown(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kText:
      return "text";
    case Token::Kind::kOutputBegin:
      return "\"{{\"";
    case Token::Kind::kOutputEnd:
      return "\"}}\"";
    case Token::Kind::kBlockBegin:
      return "\"{%\"";
    case Token::Kind::kBlockEnd:
      return "\"%}\"";
    case Token::Kind::kEnd:
      return "the end of the template";
    default:
      return quote(token.text);
  }
}

}  // namespace

bool Parser::at_operator(std::string_view text) const { return at(Token::Kind::kOperator) && current().text == text; }
bool Parser::at_name(std::string_view text) const { return at(Token::Kind::kName) && current().text == text; }

bool Parser::skip_operator(std::string_view text) {
  const bool there = at_operator(text);
  if (there) take();
  return there;
}

bool Parser::skip_name(std::string_view text) {
  const bool there = at_name(text);
  if (there) take();
  return there;
}

void Parser::unexpected(std::string_view expected) const {
  wrong("syntax: got {}, expected {}.", shown(current()), expected);
}

void Parser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) unexpected(quote(text));
}

std::string Parser::expect_name(std::string_view what) {
  if (!at(Token::Kind::kName)) unexpected(what);
  return take().text;
}

void Parser::expect(Token::Kind kind, std::string_view what) {
  if (!at(kind)) unexpected(what);
  take();
}

Statement Parser::start(Statement::Kind kind) const {
  Statement s;
  s.kind = kind;
  s.line = line();
  return s;
}

Block Parser::parse() {
  Block result = block({});
  if (!at(Token::Kind::kEnd)) unexpected("the end of the template");
  return result;
}

/// Statements up to one of these; its name is then the current token.
Block Parser::block(std::initializer_list<std::string_view> ends) {
  const Level level(depth_);
  Block result;
  while (!at(Token::Kind::kEnd)) {
    if (at(Token::Kind::kText)) {
      Statement text = start(Statement::Kind::kText);
      text.name = take().text;
      result.push_back(std::move(text));
    } else if (at(Token::Kind::kOutputBegin)) {
      take();
      Statement output = start(Statement::Kind::kOutput);
      output.expression = tuple(true);
      expect(Token::Kind::kOutputEnd, "\"}}\"");
      result.push_back(std::move(output));
    } else {
      expect(Token::Kind::kBlockBegin, "\"{%\"");
      if (at(Token::Kind::kName) && std::ranges::find(ends, current().text) != ends.end()) return result;
      result.push_back(statement());
      expect(Token::Kind::kBlockEnd, "\"%}\"");
    }
  }
  if (ends.size() > 0) unexpected(fmt::format("{{% {} %}}", *(ends.end() - 1)));
  return result;
}

/// The rest of an opening tag, and the block behind it.
Block Parser::body(std::initializer_list<std::string_view> ends) {
  skip_operator(":");
  expect(Token::Kind::kBlockEnd, "\"%}\"");
  return block(ends);
}

Statement Parser::statement() {
  const std::string& name = current().text;
  if (!at(Token::Kind::kName)) unexpected("the name of a statement");
  if (std::ranges::find(kRefused, name) != kRefused.end())
    unsupported("statement: got {{% {} %}}, which we do not have.", name);
  if (name == "if") return if_();
  if (name == "for") return for_();
  if (name == "set") return set_();
  if (name == "macro") return macro();
  if (name == "filter") return filter_block();
  if (name == "generation") {  // marks what the model wrote, for training
    Statement s = start(Statement::Kind::kScope);
    take();
    s.body = body({"endgeneration"});
    take();
    return s;
  }
  if (name == "break" || name == "continue") {
    if (loops_ == 0) wrong("{}: got it outside of a loop.", name);
    Statement s = start(name == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue);
    take();
    return s;
  }
  wrong("statement: got {}, which Jinja does not have here.", quote(name));
}

Statement Parser::if_() {
  Statement s = start(Statement::Kind::kIf);
  do {
    take();
    Node condition = tuple(false);
    s.branches.emplace_back(std::move(condition), body({"elif", "else", "endif"}));
  } while (at_name("elif"));
  if (skip_name("else")) s.branches.emplace_back(nullptr, body({"endif"}));
  take();
  return s;
}

Statement Parser::for_() {
  Statement s = start(Statement::Kind::kFor);
  take();
  s.target = target(false);
  if (!skip_name("in")) unexpected("in");
  s.expression = tuple(false);
  if (skip_name("if")) s.condition = expression();
  if (at_name("recursive")) unsupported("for: got a recursive loop, expected a plain one.");
  ++loops_;
  s.body = body({"else", "endfor"});
  --loops_;
  if (skip_name("else")) s.otherwise = body({"endfor"});
  take();
  return s;
}

Target Parser::target(bool attributes) {
  Target result;
  const bool closed = skip_operator("(");
  do {
    if (!result.names.empty() && !at(Token::Kind::kName)) break;  // a comma at the end
    result.names.push_back(expect_name("a name to assign to"));
    if (attributes && result.names.size() == 1 && skip_operator(".")) {
      result.attribute = expect_name("the name of an attribute");
      if (closed || at_operator(",")) unsupported("set: got an attribute among several targets, expected it alone.");
      return result;
    }
    result.is_tuple = result.is_tuple || at_operator(",");
  } while (skip_operator(",") && !at_name("in"));
  if (closed) expect_operator(")");
  return result;
}

Statement Parser::set_() {
  Statement s = start(Statement::Kind::kSet);
  take();
  s.target = target(true);
  if (skip_operator("=")) {
    s.expression = tuple(true);
    return s;
  }
  s.kind = Statement::Kind::kSetBlock;
  if (at_operator("|")) s.expression = filter(nullptr);
  s.body = body({"endset"});
  take();
  return s;
}

Statement Parser::macro() {
  Statement s = start(Statement::Kind::kMacro);
  take();
  s.name = expect_name("the name of a macro");
  expect_operator("(");
  while (!at_operator(")")) {
    if (!s.parameters.empty()) expect_operator(",");
    std::string name = expect_name("a parameter");
    Node fallback = skip_operator("=") ? expression() : nullptr;
    if (!fallback && !s.parameters.empty() && s.parameters.back().second) {
      wrong("macro: got a parameter without a default behind one with a default.");
    }
    s.parameters.emplace_back(std::move(name), std::move(fallback));
  }
  expect_operator(")");
  const int loops = std::exchange(loops_, 0);
  ++macros_;
  s.body = body({"endmacro"});
  --macros_;
  loops_ = loops;
  take();
  return s;
}

Statement Parser::filter_block() {
  Statement s = start(Statement::Kind::kFilter);
  // {% filter a | b %} begins with a name, where an expression has a bar.
  tokens_[pos_] = {Token::Kind::kOperator, line(), "|"};
  s.expression = filter(nullptr);
  s.body = body({"endfilter"});
  take();
  return s;
}

Block parse_template(std::string_view text, const std::string& where) {
  const size_t bad = find_invalid_utf8(text);
  if (bad != std::string_view::npos) fail<FormatError>(where, "byte {}: not part of UTF-8 text.", bad);
  if (text.size() > kMaxTemplateBytes) {
    fail<FormatError>(where, "size: got {} bytes, expected at most {}.", text.size(), kMaxTemplateBytes);
  }
  const auto refuse = [&](const Problem& problem, int line) {
    const std::string place = fmt::format("{}:{}", where, line);
    if (problem.kind == Problem::Kind::kUnsupported) fail<Unsupported>(place, "{}", problem.text);
    fail<FormatError>(place, "{}", problem.text);
  };
  std::vector<Token> tokens;
  try {
    tokens = tokenize(text);
  } catch (const SyntaxProblem& found) {
    refuse(found.problem, found.line);
  }
  Parser parser(std::move(tokens));
  try {
    return parser.parse();
  } catch (const Problem& problem) {
    refuse(problem, parser.line());
  }
  check_failed(__FILE__, __LINE__, "refused");
}

}  // namespace scalebits::jinja
