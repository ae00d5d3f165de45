// SPDX-License-Identifier: Apache-2.0
/// A disk that fills up, without being root: the system refuses to let any file grow beyond a limit.
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <cstdint>

namespace scalebits::test {

/// While it lives, a write beyond `bytes` into a file fails with EFBIG ("File too large").
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

}  // namespace scalebits::test
