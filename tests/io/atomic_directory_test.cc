// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "tests/data.h"
#include "tests/io/error_text.h"
#include "tests/io/file_size_limit.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using test::error_text;
using test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> tree(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(dir))
    names.push_back(fs::relative(entry.path(), dir).string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(AtomicDirectory, AppearsWholeAtCommit) {
  const TempDir dir;
  {
    AtomicDirectory out(dir / "model/", false);  // the slash is no part of the name
    write_text_file(out.staging() / "a", "1");
    fs::create_directory(out.staging() / "sub");
    write_text_file(out.staging() / "sub/b", "2");
    EXPECT_FALSE(fs::exists(dir / "model"));
    out.commit();
  }
  EXPECT_THAT(tree(dir.path()), ElementsAre("model", "model/a", "model/sub", "model/sub/b"));
}

TEST(AtomicDirectory, LeavesNothingWithoutCommit) {
  const TempDir dir;
  {
    const AtomicDirectory out(dir / "model", false);
    write_text_file(out.staging() / "a", "1");
  }
  EXPECT_THAT(tree(dir.path()), IsEmpty());
}

TEST(AtomicDirectory, LeavesNothingWhenTheDiskFillsUp) {
  const TempDir dir;
  const auto write = [&] {
    const test::FileSizeLimit limit(1000);
    AtomicDirectory out(dir / "model", false);
    write_text_file(out.staging() / "a", std::string(2000, 'x'));
    out.commit();
  };
  EXPECT_THAT(error_text<IoError>(write), HasSubstr("cannot write: File too large"));
  EXPECT_THAT(tree(dir.path()), IsEmpty());
}

TEST(AtomicDirectory, CreatesParentsAndUsesAnEmptyDirectory) {
  const TempDir dir;
  fs::create_directory(dir / "empty");
  for (const char* name : {"x/y/model", "empty"}) {
    AtomicDirectory out(dir / name, false);
    write_text_file(out.staging() / "a", "1");
    out.commit();
    EXPECT_THAT(tree(dir / name), ElementsAre("a")) << name;
  }
}

TEST(AtomicDirectory, RefusesADirectoryThatIsNotOurs) {
  const TempDir dir;
  fs::create_directory(dir / "photos");
  write_text_file(dir / "photos/cat", "1");
  EXPECT_THAT(error_text<InvalidArgument>([&] { const AtomicDirectory out(dir / "photos", false); }),
              HasSubstr("photos] already exists and was not written by scalebits"));
  write_text_file(dir / "file", "1");
  EXPECT_THAT(error_text<InvalidArgument>([&] { const AtomicDirectory out(dir / "file", true); }),
              HasSubstr("already exists: got a file, expected a directory"));
  EXPECT_THAT(tree(dir.path()), ElementsAre("file", "photos", "photos/cat"));
}

TEST(AtomicDirectory, ReplacesOnlyAtCommit) {
  const TempDir dir;
  fs::create_directory(dir / "model");
  write_text_file(dir / "model/old", "1");
  {
    const AtomicDirectory out(dir / "model", true);
    write_text_file(out.staging() / "new", "2");
  }
  EXPECT_THAT(tree(dir.path()), ElementsAre("model", "model/old"));
  {
    AtomicDirectory out(dir / "model", true);
    write_text_file(out.staging() / "new", "2");
    out.commit();
  }
  EXPECT_THAT(tree(dir.path()), ElementsAre("model", "model/new"));
}

TEST(AtomicDirectory, RefusesADirectoryFilledMeanwhile) {
  const TempDir dir;
  const auto write = [&] {
    AtomicDirectory out(dir / "model", false);
    fs::create_directory(dir / "model");
    write_text_file(dir / "model/other", "1");
    out.commit();
  };
  EXPECT_THAT(error_text<IoError>(write), HasSubstr("cannot rename into place: Directory not empty"));
  EXPECT_THAT(tree(dir.path()), ElementsAre("model", "model/other"));
}

TEST(AtomicDirectory, WritesThroughALink) {
  const TempDir dir;
  fs::create_directory(dir / "real");
  fs::create_directory_symlink(dir / "real", dir / "link");
  AtomicDirectory out(dir / "link", false);
  write_text_file(out.staging() / "a", "1");
  out.commit();
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_THAT(tree(dir / "real"), ElementsAre("a"));
}

}  // namespace
}  // namespace scalebits
