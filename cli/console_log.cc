// SPDX-License-Identifier: Apache-2.0
#include "cli/console_log.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace scalebits::cli {
namespace {

constexpr double kSecondsPerLine = 10.0;
constexpr double kSecondsPerFrame = 0.1;
constexpr int kBarWidth = 30;

double seconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

std::string duration_text(double seconds) {
  const auto s = static_cast<int64_t>(std::min(std::ceil(std::max(seconds, 0.0)), 1e9));
  if (s >= 3600) return fmt::format("{}h {:02}m", s / 3600, s / 60 % 60);
  if (s >= 60) return fmt::format("{}m {:02}s", s / 60, s % 60);
  return fmt::format("{}s", s);
}

ConsoleLog::ConsoleLog(bool quiet, std::FILE* stream)
    : stream_(stream), quiet_(quiet), terminal_(isatty(fileno(stream)) == 1) {}

ConsoleLog::~ConsoleLog() { clear_bar(); }

void ConsoleLog::clear_bar() {
  if (bar_shown_) fmt::print(stream_, "\r\x1b[K");
  bar_shown_ = false;
  std::fflush(stream_);
}

void ConsoleLog::info(std::string_view line) {
  if (quiet_) return;
  const std::lock_guard lock(mutex_);
  clear_bar();
  fmt::print(stream_, "{}\n", line);
}

void ConsoleLog::warn(std::string_view line) {
  const std::lock_guard lock(mutex_);
  clear_bar();
  fmt::print(stream_, "warning: {}\n", line);
}

void ConsoleLog::draw(double share, const std::string& left) {
  const int full = static_cast<int>(share * kBarWidth);
  fmt::print(stream_, "\r{} [{}{}] {:3.0f} %{}\x1b[K", what_, std::string(static_cast<size_t>(full), '#'),
             std::string(static_cast<size_t>(kBarWidth - full), '.'), 100 * share, left);
  std::fflush(stream_);
  bar_shown_ = true;
}

void ConsoleLog::progress(std::string_view what, int64_t done, int64_t total) {
  if (quiet_ || total <= 0) return;
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (what != what_ || done < started_at_) {
    what_ = what;
    started_at_ = done;
    start_ = last_ = now;
  }
  const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  const double elapsed = seconds(now - start_);
  std::string left;
  if (done > started_at_ && done < total) {
    const double each = elapsed / static_cast<double>(done - started_at_);
    left = fmt::format(", {} left", duration_text(each * static_cast<double>(total - done)));
  }
  if (done >= total) {
    clear_bar();
    what_.clear();  // the next task may have the same name
  } else if (terminal_ && (done == started_at_ || seconds(now - last_) >= kSecondsPerFrame)) {
    draw(share, left);
    last_ = now;
  } else if (!terminal_ && seconds(now - last_) >= kSecondsPerLine) {
    fmt::print(stream_, "{}: {} of {} ({:.0f} %{})\n", what_, done, total, 100 * share, left);
    std::fflush(stream_);
    last_ = now;
  }
}

}  // namespace scalebits::cli
