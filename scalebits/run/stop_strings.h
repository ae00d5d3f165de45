// SPDX-License-Identifier: Apache-2.0
/// Holds back streamed text that may become a stop string.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

class StopStrings {
 public:
  /// @throws InvalidArgument for an empty string
  explicit StopStrings(std::vector<std::string> strings);

  /// Takes in more text; returns what can no longer belong to a stop string. Once one was found, only the text before
  /// it is ever returned.
  std::string push(std::string_view text);
  /// What was held back, at the end of the text.
  std::string finish();
  [[nodiscard]] bool found() const { return found_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool found_ = false;
};

}  // namespace scalebits
