// SPDX-License-Identifier: Apache-2.0
/// Where the library says things: it never prints itself, the caller hands it a sink.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace scalebits {

/// Receives log lines and progress. The default drops everything; cli/ prints.
class Log {
 public:
  virtual ~Log() = default;
  virtual void info(std::string_view /*line*/) {}
  virtual void warn(std::string_view /*line*/) {}
  /// `done` of `total` units of `what` are finished (0 starts, total ends). Called from one thread.
  virtual void progress(std::string_view /*what*/, int64_t /*done*/, int64_t /*total*/) {}

  template <class... Args>
  void info(fmt::format_string<Args...> text, Args&&... args) {
    info(std::string_view(fmt::format(text, std::forward<Args>(args)...)));
  }
  template <class... Args>
  void warn(fmt::format_string<Args...> text, Args&&... args) {
    warn(std::string_view(fmt::format(text, std::forward<Args>(args)...)));
  }
};

/// A sink that drops everything, for callers that want silence.
Log& silent_log();

}  // namespace scalebits
