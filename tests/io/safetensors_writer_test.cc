// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <csignal>

#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/io/safetensors.h"
#include "tests/data.h"
#include "tests/io/error_text.h"
#include "tests/io/file_size_limit.h"

namespace scalebits {
namespace {

using test::error_text;
using test::TempDir;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

class Writer : public testing::Test {
 protected:
  std::string written() { return read_text_file(dir_ / "x.safetensors"); }
  std::filesystem::path path() { return dir_ / "x.safetensors"; }
  TempDir dir_;
};

TEST_F(Writer, WritesTheBytesOfTheFormat) {
  SafetensorsWriter writer(path(), {{"w", DType::kI16, {2, 1}}, {"v", DType::kU8, {3}}}, {{"k", "a\"b"}}, false);
  writer.write("w", bytes_of("1234"));
  writer.write("v", bytes_of("5"));
  writer.write("v", bytes_of("67"));
  writer.finish();
  const std::string header = R"({"__metadata__":{"k":"a\"b"},"w":{"dtype":"I16","shape":[2,1],"data_offsets":[0,4]},)"
                             R"("v":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}})";
  // 8 + 129 bytes are padded to 192 with spaces, so the header's length is 184 = 0xb8.
  ASSERT_LE(header.size(), 184U);
  EXPECT_EQ(written(),
            std::string("\xb8\0\0\0\0\0\0\0", 8) + header + std::string(184 - header.size(), ' ') + "1234567");
}

TEST_F(Writer, FileLengthIsKnownBeforehandAndDataIsAligned) {
  // Header lengths of every remainder modulo 64.
  for (size_t extra = 0; extra < 130; ++extra) {
    const std::vector<TensorSpec> specs = {{"a" + std::string(extra, 'x'), DType::kU8, {5}},
                                           {"b", DType::kF32, {2, 3}}};
    const std::map<std::string, std::string> metadata = {{"note", "\xc3\xa9\n"}};
    for (const bool checksums : {false, true}) {
      const int64_t expected = safetensors_file_bytes(specs, metadata, checksums);
      SafetensorsWriter writer(path(), specs, metadata, checksums);
      writer.write(specs[0].name, bytes_of("hello"));
      writer.write("b", bytes_of(std::string(24, '\0')));
      writer.finish();
      ASSERT_EQ(static_cast<int64_t>(std::filesystem::file_size(path())), expected);
      ASSERT_EQ((expected - 29) % 64, 0);
      const SafetensorsFile file(path());
      ASSERT_EQ(file.metadata().at("note"), "\xc3\xa9\n");
      ASSERT_EQ(file.tensors()[0].name, specs[0].name);
    }
  }
}

TEST_F(Writer, PatchesChecksumsOfEveryTensor) {
  const std::string large(3'000'000, 'q');  // more than the write buffer
  const std::string name = "weird \"name\"\n";
  const std::vector<TensorSpec> specs = {{"empty", DType::kF32, {0}},
                                         {"large", DType::kU8, {3'000'000}},
                                         {name, DType::kU8, {4}},
                                         {"end", DType::kU8, {0, 2}}};
  SafetensorsWriter writer(path(), specs, {}, true);
  writer.write("large", bytes_of(large).first(1));
  writer.write("large", bytes_of(large).subspan(1, 2'000'000));
  writer.write("large", bytes_of(large).subspan(2'000'001));
  writer.write(name, bytes_of("abcd"));
  writer.write("end", {});
  writer.finish();
  const SafetensorsFile file(path());
  ASSERT_EQ(file.tensors().size(), 4U);
  for (const TensorView& tensor : file.tensors()) {
    EXPECT_EQ(file.metadata().at("xxh3:" + tensor.name), hash_hex(tensor.bytes)) << tensor.name;
  }
  // XXH3-64 of no bytes and of "abcd", from the Python package xxhash.
  EXPECT_EQ(file.metadata().at("xxh3:empty"), "2d06800538d394c2");
  EXPECT_EQ(file.metadata().at("xxh3:" + name), "6497a96f53a89890");
  EXPECT_EQ(static_cast<char>(file.tensors()[1].bytes[2'999'999]), 'q');
}

TEST_F(Writer, CopiesTheDemoModelByteForByte) {
  const SafetensorsFile source(test::demo_model() / "model.safetensors");
  std::vector<TensorSpec> specs;
  for (const TensorView& tensor : source.tensors()) specs.push_back({tensor.name, tensor.dtype, tensor.shape});
  SafetensorsWriter writer(path(), specs, source.metadata(), true);
  for (const TensorView& tensor : source.tensors()) writer.write(tensor.name, tensor.bytes);
  writer.finish();
  const SafetensorsFile copy(path());
  ASSERT_EQ(copy.tensors().size(), source.tensors().size());
  for (size_t i = 0; i < copy.tensors().size(); ++i) {
    EXPECT_EQ(copy.tensors()[i].name, source.tensors()[i].name);
    EXPECT_EQ(copy.tensors()[i].shape, source.tensors()[i].shape);
    EXPECT_TRUE(std::equal(copy.tensors()[i].bytes.begin(), copy.tensors()[i].bytes.end(),
                           source.tensors()[i].bytes.begin(), source.tensors()[i].bytes.end()));
  }
}

TEST_F(Writer, RefusesAWrongTurn) {
  SafetensorsWriter writer(path(), {{"a", DType::kU8, {2}}, {"b", DType::kU8, {2}}}, {}, false);
  EXPECT_THAT(error_text<InternalError>([&] { writer.write("b", bytes_of("xx")); }),
              HasSubstr("got \"b\", expected \"a\""));
  writer.write("a", bytes_of("x"));
  EXPECT_THAT(error_text<InternalError>([&] { writer.write("a", bytes_of("yz")); }), HasSubstr("got 1 bytes too many"));
  EXPECT_THAT(error_text<InternalError>([&] { writer.finish(); }),
              HasSubstr("tensor \"a\": 1 bytes have not been written"));
}

TEST_F(Writer, LeavesNothingBehindWithoutFinish) {
  {
    SafetensorsWriter writer(path(), {{"a", DType::kU8, {2}}}, {}, false);
    writer.write("a", bytes_of("xx"));
  }
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(Writer, RefusesSpecsThatNoReaderWouldTake) {
  using Specs = std::vector<TensorSpec>;
  using Metadata = std::map<std::string, std::string>;
  const auto refusal = [&](const Specs& specs, const Metadata& metadata = {}) {
    EXPECT_THROW(safetensors_file_bytes(specs, metadata, true), InvalidArgument);
    return error_text<InvalidArgument>([&] { SafetensorsWriter writer(path(), specs, metadata, true); });
  };
  EXPECT_THAT(refusal({}), HasSubstr("tensors: got 0"));
  EXPECT_THAT(refusal({{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}), HasSubstr("[a] tensor name: got it twice"));
  EXPECT_THAT(refusal({{"__metadata__", DType::kU8, {1}}}), HasSubstr("reserved"));
  EXPECT_THAT(refusal({{"a", DType::kU8, {-1}}}), HasSubstr("got a size of -1"));
  EXPECT_THAT(refusal({{"a", DType::kF32, {int64_t{1} << 40, int64_t{1} << 40}}}), HasSubstr("overflows"));
  EXPECT_THAT(refusal({{"a\xff", DType::kU8, {1}}}), HasSubstr("expected UTF-8"));
  EXPECT_THAT(refusal({{"a", DType::kU8, {1}}}, {{"k", "\xff"}}), HasSubstr("expected UTF-8"));
  EXPECT_THAT(refusal({{"a", DType::kU8, {1}}}, {{"xxh3:a", "0"}}), HasSubstr("reserved"));
  EXPECT_THAT(refusal({{"a", DType::kU8, {1}}}, {{"k", std::string(100'000'000, 'x')}}),
              HasSubstr("expected at most 100000000"));
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(Writer, ReportsAFullDiskAndLeavesNothing) {
  const std::string large(3'000'000, 'q');
  const auto write = [&] {
    const test::FileSizeLimit limit(1'500'000);
    SafetensorsWriter writer(path(), {{"a", DType::kU8, {3'000'000}}}, {}, true);
    writer.write("a", bytes_of(large));
    writer.finish();
  };
  EXPECT_THAT(error_text<IoError>(write), HasSubstr("cannot write: File too large"));
  EXPECT_FALSE(std::filesystem::exists(path()));
}

}  // namespace
}  // namespace scalebits
