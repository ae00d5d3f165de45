// SPDX-License-Identifier: Apache-2.0
#include "cli/chat_input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"

namespace scalebits::cli {
namespace {

constexpr size_t kMaxLineBytes = size_t{16} << 20;
/// How often a waiting program looks whether it was asked to stop: signals go to a thread of their own (main.cc), and
/// do not interrupt what waits here.
constexpr int kPollMs = 50;

}  // namespace

ChatInput::ChatInput() : terminal_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {}

bool ChatInput::read_more() {
  for (;;) {
    if (stop_requested()) return false;
    pollfd stdin_state{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int ready = poll(&stdin_state, 1, kPollMs);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    std::array<char, 4096> buffer;
    const ssize_t n = ready < 0 ? ready : read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0 && (errno == EBADF || errno == EIO)) return false;  // closed, or its terminal is gone
    if (n < 0) fail<IoError>("stdin", "cannot read: {}.", std::strerror(errno));
    held_.append(buffer.data(), static_cast<size_t>(n));
    return n > 0;
  }
}

std::optional<std::string> ChatInput::next() {
  if (terminal_) {
    std::fputs("> ", stdout);
    std::fflush(stdout);
  }
  size_t looked_at = 0;
  while (!stop_requested()) {
    const size_t end = held_.find('\n', looked_at);
    if (end != std::string::npos) {
      std::string line = held_.substr(0, end);
      held_.erase(0, end + 1);
      if (line.ends_with('\r')) line.pop_back();
      return line;
    }
    looked_at = held_.size();
    if (held_.size() > kMaxLineBytes) {
      fail<FormatError>("stdin", "line: got more than {} bytes, expected a message.", kMaxLineBytes);
    }
    if (read_more()) continue;
    if (stop_requested() || held_.empty()) break;
    return std::exchange(held_, {});  // a last line without its end
  }
  if (terminal_) std::fputc('\n', stdout);
  return std::nullopt;
}

}  // namespace scalebits::cli
