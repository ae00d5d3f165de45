// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/posix.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

// Linux transfers at most 2^31 - 4096 bytes per call anyway.
constexpr size_t kMaxBytesPerCall = size_t{1} << 30;

FileDescriptor open_checked(const std::filesystem::path& path, int flags, std::string_view action) {
  // Non-blocking, because opening a FIFO without a writer would wait for ever; regular files do not care.
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0666);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) fail_io(path, action, errno);
  return FileDescriptor(fd);
}

}  // namespace

void fail_io(const std::filesystem::path& path, std::string_view action, int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
  fail<IoError>(path.string(), "cannot {}: {}.{}", action, std::generic_category().message(error_number),
                full ? " Free some space or choose another place; nothing was left behind." : "");
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor open_for_reading(const std::filesystem::path& path) { return open_checked(path, O_RDONLY, "open"); }

FileDescriptor open_for_writing(const std::filesystem::path& path) {
  return open_checked(path, O_WRONLY | O_CREAT | O_TRUNC, "create");
}

void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), std::min(bytes.size(), kMaxBytesPerCall));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io(path, "write", errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void write_all_at(int fd, std::span<const std::byte> bytes, int64_t offset, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), std::min(bytes.size(), kMaxBytesPerCall), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io(path, "write", errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += n;
  }
}

void sync_and_close(FileDescriptor fd, const std::filesystem::path& path) {
  // EINVAL: not a thing that can be synced (a pipe, /dev/null); there is nothing to wait for then.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) fail_io(path, "sync", errno);
  if (::close(fd.release()) != 0 && errno != EINTR) fail_io(path, "close", errno);
}

void sync_directory(const std::filesystem::path& dir) {
  const FileDescriptor fd = open_checked(dir.empty() ? "." : dir, O_RDONLY | O_DIRECTORY, "open");
  if (::fsync(fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS) fail_io(dir, "sync", errno);
}

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  std::filesystem::path temporary = path;
  temporary += fmt::format(".tmp-{}", ::getpid());
  return temporary;
}

}  // namespace scalebits
