// SPDX-License-Identifier: Apache-2.0
/// Error classes of the library and the one way to raise them: `[where] what: got X, expected Y. hint`.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace scalebits {

/// Base of everything the library throws on purpose. Callers catch by class and never parse the text.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A value given by the caller (flag, argument) is unusable. CLI exit code 2.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// An input file is malformed, incomplete or of a kind we do not know. CLI exit code 3.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// The operating system refused (open, read, write, disk full). CLI exit code 1.
class IoError : public Error {
 public:
  using Error::Error;
};

/// Well-formed input that asks for something we do not do. CLI exit code 3.
class Unsupported : public Error {
 public:
  using Error::Error;
};

/// A device or instruction set that was asked for is not there. CLI exit code 1.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// The run was stopped (Ctrl+C) with its state saved. CLI exit code 75.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// A broken invariant of our own code. CLI exit code 1.
class InternalError : public Error {
 public:
  using Error::Error;
};

/// Throws E with `[where] ` before the formatted text. `where` names the file, tensor or option at fault.
template <class E, class... Args>
[[noreturn]] void fail(std::string_view where, fmt::format_string<Args...> text, Args&&... args) {
  throw E(fmt::format("[{}] {}", where, fmt::format(text, std::forward<Args>(args)...)));
}

[[noreturn]] void check_failed(const char* file, int line, const char* condition);

}  // namespace scalebits

/// An invariant of our own code; always on. Wrong input never reaches one of these.
#define SCALEBITS_CHECK(condition)                                               \
  do {                                                                           \
    if (!(condition)) ::scalebits::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)

/// A hot-loop precondition: checked in debug and sanitizer builds only.
#ifdef NDEBUG
#define SCALEBITS_DCHECK(condition) \
  do {                              \
  } while (false)
#else
#define SCALEBITS_DCHECK(condition) SCALEBITS_CHECK(condition)
#endif
