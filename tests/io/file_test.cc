// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/file.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "scalebits/base/errors.h"
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

std::vector<std::string> listing(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, GivesTheBytesAndMovesThem) {
  const TempDir dir;
  write_text_file(dir / "a", "hello");
  MappedFile first(dir / "a");
  const std::byte* data = first.bytes().data();
  MappedFile second(std::move(first));
  EXPECT_EQ(second.bytes().data(), data);
  EXPECT_EQ(text_of(second), "hello");
  write_text_file(dir / "b", "");
  MappedFile third(dir / "b");
  EXPECT_TRUE(third.bytes().empty());
  third = std::move(second);
  EXPECT_EQ(text_of(third), "hello");
  EXPECT_EQ(third.path(), dir / "a");
}

TEST(MappedFile, ReleasedPagesReadTheSameAgain) {
  const TempDir dir;
  const std::string text(100'000, 'x');
  write_text_file(dir / "a", text);
  const MappedFile file(dir / "a");
  EXPECT_EQ(text_of(file), text);
  file.release(file.bytes());
  file.release(file.bytes().subspan(5, 10));
  file.release({});
  EXPECT_EQ(text_of(file), text);
}

TEST(MappedFile, RefusesWhatIsNotARegularFile) {
  const TempDir dir;
  EXPECT_THAT(error_text<FormatError>([&] { const MappedFile file(dir.path()); }),
              HasSubstr("got a directory, expected a regular file"));
  ASSERT_EQ(mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(error_text<FormatError>([&] { const MappedFile file(dir / "fifo"); }), HasSubstr("got a device, pipe"));
  EXPECT_THAT(error_text<IoError>([&] { const MappedFile file(dir / "none"); }),
              HasSubstr("cannot open: No such file or directory."));
}

TEST(ReadTextFile, ReadsUpToItsCap) {
  const TempDir dir;
  write_text_file(dir / "a", std::string("a\0b", 3));
  EXPECT_EQ(read_text_file(dir / "a", 3), std::string("a\0b", 3));
  EXPECT_THAT(error_text<FormatError>([&] { read_text_file(dir / "a", 2); }),
              HasSubstr("length: got 3 bytes, expected at most 2"));
  EXPECT_THROW(read_text_file(dir / "none"), IoError);
  EXPECT_THROW(read_text_file(dir.path()), FormatError);
}

TEST(AtomicFile, AppearsOnlyAtCommit) {
  const TempDir dir;
  {
    AtomicFile file(dir / "a");
    file.write("one");
    EXPECT_FALSE(fs::exists(dir / "a"));
    file.write(" two");
    file.commit();
    EXPECT_EQ(read_text_file(dir / "a"), "one two");
  }
  EXPECT_THAT(listing(dir.path()), ElementsAre("a"));
}

TEST(AtomicFile, KeepsTheOldFileWithoutCommit) {
  const TempDir dir;
  write_text_file(dir / "a", "old");
  { AtomicFile(dir / "a").write("new"); }
  EXPECT_EQ(read_text_file(dir / "a"), "old");
  EXPECT_THAT(listing(dir.path()), ElementsAre("a"));
  write_text_file(dir / "a", "new");
  EXPECT_EQ(read_text_file(dir / "a"), "new");
}

TEST(AtomicFile, ReportsPlacesWhereItCannotWrite) {
  const TempDir dir;
  EXPECT_THAT(error_text<IoError>([&] { write_text_file(dir / "none/a", "x"); }),
              HasSubstr("cannot create: No such file"));
  fs::create_directory(dir / "d");
  EXPECT_THAT(error_text<IoError>([&] { write_text_file(dir / "d", "x"); }),
              HasSubstr("cannot rename into place: Is a dir"));
  EXPECT_THAT(listing(dir.path()), ElementsAre("d"));
}

TEST(AtomicFile, ReportsAFullDiskAndLeavesTheOldFileAlone) {
  const TempDir dir;
  write_text_file(dir / "a", "old");
  const auto write = [&] {
    const test::FileSizeLimit limit(10'000);
    write_text_file(dir / "a", std::string(20'000, 'x'));
  };
  EXPECT_THAT(error_text<IoError>(write), HasSubstr("cannot write: File too large. Free some space"));
  EXPECT_EQ(read_text_file(dir / "a"), "old");
  EXPECT_THAT(listing(dir.path()), ElementsAre("a"));
}

TEST(AtomicFile, ReportsAReallyFullFileSystem) {
  const TempDir dir;
  if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "skipped: cannot mount a tmpfs";
  EXPECT_THAT(error_text<IoError>([&] { write_text_file(dir / "a", std::string(100'000, 'x')); }),
              HasSubstr("cannot write: No space left on device. Free some space"));
  EXPECT_THAT(listing(dir.path()), IsEmpty());
  EXPECT_EQ(::umount(dir.path().c_str()), 0);
}

}  // namespace
}  // namespace scalebits
