// SPDX-License-Identifier: Apache-2.0
/// The few system calls of this folder, with errno turned into IoError. For io/ only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

namespace scalebits {

/// Throws IoError `[path] cannot <action>: <the system's reason>.`, with advice where the disk is full.
[[noreturn]] void fail_io(const std::filesystem::path& path, std::string_view action, int error_number);

/// Owns a file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  /// Gives the descriptor away.
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// @throws IoError naming `path`, also when it is missing
FileDescriptor open_for_reading(const std::filesystem::path& path);
/// Creates or truncates. @throws IoError
FileDescriptor open_for_writing(const std::filesystem::path& path);
/// All of the bytes, or IoError. `path` is for the message.
void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);
/// The same at a given offset; the file position stays.
void write_all_at(int fd, std::span<const std::byte> bytes, int64_t offset, const std::filesystem::path& path);
/// Waits until the file's bytes are on the disk: only then are all write errors known. Closes in any case.
void sync_and_close(FileDescriptor fd, const std::filesystem::path& path);
/// Makes the names in a directory durable. File systems that cannot do it are forgiven.
void sync_directory(const std::filesystem::path& dir);
/// `path` with `.tmp-<pid>` appended to its last component.
std::filesystem::path temporary_name(const std::filesystem::path& path);

}  // namespace scalebits
