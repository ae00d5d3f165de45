// SPDX-License-Identifier: Apache-2.0
/// Lines of stdin, from a terminal or not, while signals may come.
#pragma once

#include <optional>
#include <string>

namespace scalebits::cli {

class ChatInput {
 public:
  ChatInput();
  /// The next line without its end, after a prompt on a terminal. Nothing at the end of stdin, or when a stop was
  /// requested while nothing was typed in. @throws IoError; FormatError for a line above 16 MB
  std::optional<std::string> next();

 private:
  /// False at the end of stdin and after a stop request.
  bool read_more();

  bool terminal_;
  std::string held_;  ///< what was read beyond the last line
};

}  // namespace scalebits::cli
