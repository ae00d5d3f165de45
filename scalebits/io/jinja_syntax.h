// SPDX-License-Identifier: Apache-2.0
/// A Jinja template as a tree.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scalebits/io/jinja_value.h"

namespace scalebits::jinja {

struct Expression;
using Node = std::unique_ptr<Expression>;

/// Arguments of a call, a filter or a test.
struct Arguments {
  std::vector<Node> positional;
  std::vector<std::pair<std::string, Node>> named;
};

struct Expression {
  enum class Kind {
    kConstant,  ///< value
    kName,      ///< name
    kMember,    ///< children[0].name
    kItem,      ///< children[0][children[1]]
    kSlice,     ///< children[0][children[1]:children[2]:children[3]], null where not written
    kCall,      ///< children[0](arguments)
    kFilter,    ///< children[0] | name(arguments); no child inside {% filter %} or {% set | %}
    kTest,      ///< children[0] is name(arguments)
    kUnary,     ///< name: not - +
    kBinary,    ///< name: + - * / // % **
    kAnd,
    kOr,
    kCompare,    ///< children[0] names[0] children[1] names[1] children[2] ...
    kConcat,     ///< all children with ~ between
    kCondition,  ///< children[0] if children[1] else children[2], null without else
    kList,
    kTuple,
    kDict,  ///< keys and values in turn
  };
  Kind kind = Kind::kConstant;
  int line = 0;
  size_t depth = 1;  ///< levels of the tree from here down
  std::string name;
  Value value;
  std::vector<std::string> names;
  std::vector<Node> children;
  Arguments arguments;
};

struct Statement;
using Block = std::vector<Statement>;

/// What {% set %} and {% for %} assign to: one name, several, or an attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  std::string attribute;  ///< with one name: that of the namespace
  bool is_tuple = false;  ///< (a,) is one name, too
};

struct Statement {
  enum class Kind {
    kText,      ///< name, as it is
    kOutput,    ///< {{ expression }}
    kIf,        ///< branches in order; a null condition is the else
    kFor,       ///< target in expression if condition; body, otherwise
    kSet,       ///< target = expression
    kSetBlock,  ///< target = body, through the filters of `expression` where there are any
    kMacro,     ///< name, parameters, body
    kScope,     ///< {% generation %}: body
    kFilter,    ///< {% filter %}: body through the filters of `expression`
    kBreak,
    kContinue,
  };
  Kind kind = Kind::kText;
  int line = 0;
  std::string name;
  Node expression, condition;
  Target target;
  std::vector<std::pair<Node, Block>> branches;
  std::vector<std::pair<std::string, Node>> parameters;  ///< with defaults, null where there is none
  Block body, otherwise;
};

/// @throws FormatError, Unsupported: `[where:line] ...`
Block parse_template(std::string_view text, const std::string& where);

}  // namespace scalebits::jinja
