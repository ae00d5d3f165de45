// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/io/posix.h"

namespace scalebits {
namespace {

/// Size of an open regular file.
uint64_t regular_file_size(int fd, const std::filesystem::path& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) fail_io(path, "read", errno);
  if (!S_ISREG(info.st_mode)) {
    fail<FormatError>(path.string(), "kind of file: got a {}, expected a regular file.",
                      S_ISDIR(info.st_mode) ? "directory" : "device, pipe or socket");
  }
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const FileDescriptor fd = open_for_reading(path);
  size_ = regular_file_size(fd.get(), path);
  if (size_ == 0) return;  // mmap refuses an empty range
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) fail_io(path, "map", errno);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::release(std::span<const std::byte> part) const {
  if (part.empty()) return;
  SCALEBITS_CHECK(part.data() >= data_ && part.data() + part.size() <= data_ + size_);
  // Whole pages only: the first and last page may hold a neighbour that is in use.
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(part.data()) + part.size()) / page * page;
  // The pages are clean and backed by the file, so this is a hint whose failure changes nothing.
  if (begin < end) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes) {
  const FileDescriptor fd = open_for_reading(path);
  const uint64_t size = regular_file_size(fd.get(), path);
  if (size > max_bytes) fail<FormatError>(path.string(), "length: got {} bytes, expected at most {}.", size, max_bytes);
  std::string text(size, '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + have, std::min<size_t>(text.size() - have, size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io(path, "read", errno);
    if (n == 0) break;  // it became shorter meanwhile
    have += static_cast<size_t>(n);
  }
  text.resize(have);
  return text;
}

AtomicFile::AtomicFile(const std::filesystem::path& path)
    : path_(path), temporary_(temporary_name(path)), fd_(open_for_writing(temporary_).release()) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  SCALEBITS_CHECK(fd_ >= 0);
  write_all(fd_, bytes, path_);
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  SCALEBITS_CHECK(fd_ >= 0);
  try {
    sync_and_close(FileDescriptor(std::exchange(fd_, -1)), path_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_io(path_, "rename into place", errno);
  } catch (...) {
    ::unlink(temporary_.c_str());
    throw;
  }
  sync_directory(path_.parent_path());
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace scalebits
