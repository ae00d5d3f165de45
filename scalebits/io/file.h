// SPDX-License-Identifier: Apache-2.0
/// Files: mapped for reading; written under a temporary name, synced, then renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace scalebits {

/// A whole file mapped read-only. Moves keep pointers valid.
class MappedFile {
 public:
  /// @throws IoError when the file cannot be opened or mapped, FormatError when it is not a regular file
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Tells the system that these pages are not needed for now, so that they leave our resident set.
  void release(std::span<const std::byte> part) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// @throws IoError; FormatError above max_bytes
std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{4} << 30);

/// Writes to `<path>.tmp-<pid>`; commit() syncs and renames it to `path`; without commit the temporary is removed.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// @throws IoError (disk full and the like, with the system's reason)
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

void write_text_file(const std::filesystem::path& path, std::string_view text);

/// A directory that appears whole or not at all: files are written into `<path>.tmp-<pid>`, which commit() syncs and
/// renames to `path`. An existing `path` is swapped out and then removed where the caller says it is `replaceable`.
/// Parent directories are created. Without commit() the temporary directory is removed.
class AtomicDirectory {
 public:
  /// @throws InvalidArgument when `path` exists, is not empty and `replaceable` is false
  AtomicDirectory(const std::filesystem::path& path, bool replaceable);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& staging() const { return staging_; }
  /// @throws IoError; nothing has then changed at `path`, unless the message says that it was written
  void commit();

 private:
  std::filesystem::path path_, staging_;
  bool replaceable_ = false;
  bool committed_ = false;
};

}  // namespace scalebits
