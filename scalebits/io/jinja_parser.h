// SPDX-License-Identifier: Apache-2.0
/// Builds the tree of a template from its tokens: recursive descent, with Jinja's grammar.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/jinja_lexer.h"
#include "scalebits/io/jinja_syntax.h"

namespace scalebits::jinja {

/// Throws Problem; line() is then where it is.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Block parse();
  [[nodiscard]] int line() const { return current().line; }

 private:
  using Kind = Expression::Kind;
  /// Counts how deep the parser has called itself.
  class Level {
   public:
    explicit Level(size_t& depth) : depth_(depth) {
      if (++depth_ > kMaxSyntaxDepth) unsupported("nesting: got more than {} levels.", kMaxSyntaxDepth);
    }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    size_t& depth_;
  };

  // Tokens.
  [[nodiscard]] const Token& current() const { return tokens_[pos_]; }
  [[nodiscard]] const Token& ahead() const { return tokens_[std::min(pos_ + 1, tokens_.size() - 1)]; }
  Token take() { return tokens_[pos_ + 1 < tokens_.size() ? pos_++ : pos_]; }
  [[nodiscard]] bool at(Token::Kind kind) const { return current().kind == kind; }
  [[nodiscard]] bool at_operator(std::string_view text) const;
  [[nodiscard]] bool at_name(std::string_view text) const;
  bool skip_operator(std::string_view text);
  bool skip_name(std::string_view text);
  void expect_operator(std::string_view text);
  std::string expect_name(std::string_view what);
  void expect(Token::Kind kind, std::string_view what);
  [[noreturn]] void unexpected(std::string_view expected) const;

  // Expressions, the loosest binding first (jinja_expressions.cc).
  Node expression();
  Node tuple(bool conditions);
  Node or_();
  Node and_();
  Node not_();
  Node comparison();
  Node sum();
  Node concatenation();
  Node product();
  Node power();
  Node unary(bool filters);
  Node primary();
  Node parenthesized();
  Node list();
  Node dict();
  Node postfix(Node node);
  Node filtered(Node node);
  Node subscript(Node of);
  Node filter(Node node);
  Node test(Node node);
  Node name_or_constant();
  Arguments arguments();
  Node binary(Node (Parser::*operand)(), std::initializer_list<std::string_view> operators);
  [[nodiscard]] bool at_tuple_end() const;

  /// A node whose depth is still to be found by done().
  Node make(Kind kind, std::string name = {}) const;
  template <class... Children>
  Node made(Kind kind, std::string name, Children... children) {
    Node node = make(kind, std::move(name));
    (node->children.push_back(std::move(children)), ...);
    return done(std::move(node));
  }
  static Node done(Node node);

  // Statements (jinja_statements.cc).
  Block block(std::initializer_list<std::string_view> ends);
  Block body(std::initializer_list<std::string_view> ends);
  Statement statement();
  Statement if_();
  Statement for_();
  Statement set_();
  Statement macro();
  Statement filter_block();
  Target target(bool attributes);
  Statement start(Statement::Kind kind) const;

  std::vector<Token> tokens_;
  size_t pos_ = 0, depth_ = 0;
  int macros_ = 0, loops_ = 0;
};

}  // namespace scalebits::jinja
