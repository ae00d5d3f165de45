// SPDX-License-Identifier: Apache-2.0
/// Jinja templates of chat models: the subset that they use, without arbitrary code (docs/chat-templates.md).
///
/// Templates are hostile input: size, nesting, work and output are capped, and nothing outside the values given can be
/// reached. White space is treated as transformers does (trim_blocks, lstrip_blocks).
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "scalebits/io/json.h"

namespace scalebits {

class JinjaTemplate {
 public:
  /// @param text   UTF-8
  /// @param where  names the source in messages: the file, and the key where it is one of several
  /// @throws FormatError (`[where:line] ...`: syntax, not UTF-8, too long), Unsupported (names what we do not have)
  JinjaTemplate(std::string_view text, std::string where);
  ~JinjaTemplate();
  JinjaTemplate(JinjaTemplate&&) noexcept;
  JinjaTemplate& operator=(JinjaTemplate&&) noexcept;

  /// @param variables  an object of what the template may read
  /// @param now        what strftime_now() formats
  /// @throws FormatError, Unsupported as above; InvalidArgument where the template calls raise_exception(): it refuses
  ///         the variables
  [[nodiscard]] std::string render(const Json& variables, const std::tm& now) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

/// The local time.
std::tm local_time();

}  // namespace scalebits
