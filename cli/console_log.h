// SPDX-License-Identifier: Apache-2.0
/// Log and progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdio>
#include <mutex>
#include <string>

#include "scalebits/base/log.h"

namespace scalebits::cli {

class ConsoleLog final : public Log {
 public:
  /// @param quiet drops everything but warnings
  explicit ConsoleLog(bool quiet, std::FILE* stream = stderr);
  ~ConsoleLog() override;
  using Log::info;
  using Log::warn;
  void info(std::string_view line) override;
  void warn(std::string_view line) override;
  /// On a terminal redrawn at most ten times a second; elsewhere a line at most every ten seconds, so that short tasks
  /// leave none.
  void progress(std::string_view what, int64_t done, int64_t total) override;

 private:
  using Clock = std::chrono::steady_clock;
  void clear_bar();
  void draw(double share, const std::string& left);

  std::mutex mutex_;
  std::FILE* stream_;
  bool quiet_, terminal_;
  bool bar_shown_ = false;
  std::string what_;
  int64_t started_at_ = 0;  // units that were done when this task was first heard of
  Clock::time_point start_, last_;
};

/// "2h 05m", "3m 07s" or "12s"
std::string duration_text(double seconds);

}  // namespace scalebits::cli
