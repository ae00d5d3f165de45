// SPDX-License-Identifier: Apache-2.0
/// Splits a Jinja template into text and the tokens of its tags, white space control done.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/jinja_limits.h"

namespace scalebits::jinja {

struct Token {
  enum class Kind {
    kText,  ///< outside of tags
    kName,
    kString,  ///< what it stands for, escapes done
    kInteger,
    kFloat,
    kOperator,
    kOutputBegin,  ///< {{
    kOutputEnd,
    kBlockBegin,  ///< {%
    kBlockEnd,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  int line = 0;
  std::string text;
};

/// A Problem with its line.
struct SyntaxProblem {
  Problem problem;
  int line = 0;
};

/// As Jinja with trim_blocks and lstrip_blocks, which is how transformers reads chat templates: the line end behind a
/// block tag and the white space before one at the start of a line go. One line end at the end of the template goes
/// too. The last token is kEnd. @throws SyntaxProblem
std::vector<Token> tokenize(std::string_view text);

}  // namespace scalebits::jinja
