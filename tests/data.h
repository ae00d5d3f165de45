// SPDX-License-Identifier: Apache-2.0
/// Where tests find their files.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace scalebits::test {

inline std::filesystem::path source_dir() { return SCALEBITS_SOURCE_DIR; }
inline std::filesystem::path demo_model() { return source_dir() / "models/demo-5m"; }
/// Material that lies beside the repository and is not part of it.
inline std::filesystem::path shared_data() { return source_dir().parent_path() / "shared/data"; }

/// A fresh empty directory, removed at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "scalebits-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace scalebits::test

/// First statement of a test that needs ../shared/data.
#define SCALEBITS_NEEDS_SHARED_DATA() \
  if (!std::filesystem::exists(::scalebits::test::shared_data())) GTEST_SKIP() << "skipped: no ../shared/data"
