// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/posix.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;

/// The directory meant by `path`: no trailing slash (a suffix is appended to the name), links followed (a rename would
/// replace the link itself).
fs::path resolved(const fs::path& path) {
  std::error_code error;
  fs::path result = fs::weakly_canonical(path, error);
  if (error) fail_io(path, "resolve", error.value());
  if (!result.has_filename()) result = result.parent_path();
  return result;
}

/// @throws InvalidArgument when `path` is there and must not be replaced
void check_replaceable(const fs::path& path, bool replaceable) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    if (error && error != std::errc::no_such_file_or_directory) fail_io(path, "open", error.value());
    return;
  }
  if (!fs::is_directory(status)) {
    fail<InvalidArgument>(path.string(), "already exists: got a file, expected a directory or a free name.");
  }
  const bool empty = fs::is_empty(path, error);
  if (error) fail_io(path, "list", error.value());
  if (!empty && !replaceable) {
    fail<InvalidArgument>(path.string(),
                          "already exists and was not written by scalebits, so it is not replaced. Choose another name "
                          "or remove it.");
  }
}

void sync_tree(const fs::path& dir) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_symlink()) continue;
    if (entry.is_regular_file()) sync_and_close(open_for_reading(entry.path()), entry.path());
    if (entry.is_directory()) sync_directory(entry.path());
  }
  sync_directory(dir);
}

/// Renames `staging` to `path`. What was at `path` before is afterwards at the returned name; empty when nothing was.
fs::path swap_in(const fs::path& staging, const fs::path& path, bool replaceable) {
  if (::rename(staging.c_str(), path.c_str()) == 0) return {};  // also replaces an empty directory
  if ((errno != ENOTEMPTY && errno != EEXIST) || !replaceable) fail_io(path, "rename into place", errno);
  if (::renameat2(AT_FDCWD, staging.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return staging;
  if (errno != EINVAL && errno != ENOSYS) fail_io(path, "rename into place", errno);

  // The file system cannot exchange names: for a moment there is nothing under `path`.
  fs::path aside = staging;
  aside += "-old";
  if (::rename(path.c_str(), aside.c_str()) != 0) fail_io(path, "move aside", errno);
  if (::rename(staging.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    (void)::rename(aside.c_str(), path.c_str());
    fail_io(path, "rename into place", reason);
  }
  return aside;
}

}  // namespace

AtomicDirectory::AtomicDirectory(const fs::path& path, bool replaceable)
    : path_(resolved(path)), staging_(temporary_name(path_)), replaceable_(replaceable) {
  check_replaceable(path_, replaceable);
  std::error_code error;
  fs::remove_all(staging_, error);  // of a process that crashed and had our number
  if (error) fail_io(staging_, "remove", error.value());
  fs::create_directories(staging_, error);
  if (error) fail_io(staging_, "create", error.value());
}

AtomicDirectory::~AtomicDirectory() {
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
}

void AtomicDirectory::commit() {
  SCALEBITS_CHECK(!committed_);
  try {
    sync_tree(staging_);
  } catch (const fs::filesystem_error& e) {
    fail_io(staging_, "list", e.code().value());
  }
  const fs::path old = swap_in(staging_, path_, replaceable_);
  committed_ = true;
  sync_directory(path_.parent_path());
  if (old.empty()) return;
  std::error_code error;
  fs::remove_all(old, error);
  if (error) {
    fail<IoError>(path_.string(), "was written, but what it replaced is still at {}: cannot remove: {}.", old.string(),
                  error.message());
  }
}

}  // namespace scalebits
