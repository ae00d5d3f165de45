// SPDX-License-Identifier: Apache-2.0
/// What keeps a hostile template in bounds, and how its parts say what is wrong.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace scalebits::jinja {

/// Thrown where the place in the template is not known; the parser and the renderer make an error of the library of it
/// that names file and line.
struct Problem {
  enum class Kind {
    kWrong,        ///< FormatError: the template does what Jinja refuses too
    kUnsupported,  ///< Unsupported: the template asks for what we do not have
    kRaised,       ///< InvalidArgument: the template's own raise_exception(), about the conversation
  };
  Kind kind;
  std::string text;
};

template <class... Args>
[[noreturn]] void wrong(fmt::format_string<Args...> text, Args&&... args) {
  throw Problem{Problem::Kind::kWrong, fmt::format(text, std::forward<Args>(args)...)};
}
template <class... Args>
[[noreturn]] void unsupported(fmt::format_string<Args...> text, Args&&... args) {
  throw Problem{Problem::Kind::kUnsupported, fmt::format(text, std::forward<Args>(args)...)};
}

/// Far above any template there is (the longest known have 30 KB).
constexpr size_t kMaxTemplateBytes = size_t{1} << 20;
/// Levels of expressions in expressions and blocks in blocks; each may be some frames of the stack.
constexpr size_t kMaxSyntaxDepth = 128;
constexpr size_t kMaxRenderDepth = 400;  ///< the same while rendering, through macros
/// Levels of lists in lists, as of JSON documents.
constexpr size_t kMaxValueDepth = 64;
constexpr size_t kMaxOutputBytes = size_t{16} << 20;

/// What a rendering may cost: every byte or element that is made or looked at is 1, every step of the template some
/// more. So both its time (about a second at most) and its memory are bounded.
class Work {
 public:
  explicit Work(size_t units) : left_(units) {}
  void spend(size_t units) {
    if (units > left_) unsupported("work: got more than a chat template may take. Does it loop without end?");
    left_ -= units;
  }

 private:
  size_t left_;
};
constexpr size_t kMaxWork = size_t{1} << 26;
constexpr size_t kStepWork = 16;

}  // namespace scalebits::jinja
