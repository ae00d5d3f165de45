// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/stop_strings.h"

#include <algorithm>
#include <utility>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// Length of the longest end of `text` that `stop` begins with (and is longer than).
size_t overlap(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  for (const std::string& s : strings_) {
    if (s.empty()) fail<InvalidArgument>("--stop", "got an empty string, expected at least one character.");
  }
}

std::string StopStrings::push(std::string_view text) {
  if (found_) return {};
  held_ += text;
  size_t end = std::string::npos, unsure = 0;
  for (const std::string& s : strings_) {
    end = std::min(end, held_.find(s));
    unsure = std::max(unsure, overlap(held_, s));
  }
  found_ = end != std::string::npos;
  std::string certain = held_.substr(0, found_ ? end : held_.size() - unsure);
  held_.erase(0, found_ ? std::string::npos : certain.size());
  return certain;
}

std::string StopStrings::finish() { return std::exchange(held_, {}); }

}  // namespace scalebits
