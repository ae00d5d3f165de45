// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "scalebits/base/errors.h"
#include "scalebits/io/safetensors.h"
#include "tests/data.h"
#include "tests/io/error_text.h"
#include "tests/io/raw_safetensors.h"

namespace scalebits {
namespace {

using test::error_text;
using test::raw_safetensors;
using test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Safetensors : public testing::Test {
 protected:
  SafetensorsFile open(const std::string& content) {
    write_text_file(dir_ / "x.safetensors", content);
    return SafetensorsFile(dir_ / "x.safetensors");
  }
  std::string refusal(const std::string& content) {
    const std::string message = error_text<FormatError>([&] { open(content); });
    EXPECT_THAT(message, HasSubstr("x.safetensors"));
    return message;
  }
  /// Of a file whose header holds these members and whose data has 8 bytes.
  std::string refusal_of_header(const std::string& header) { return refusal(raw_safetensors(header, "01234567")); }
  TempDir dir_;
};

// Written by the Python package safetensors 0.8.0: {"a": f16 [[1.5, -2, 0.25]], "b": i32 [7, -1], "s": f32 scalar 3},
// metadata {"format": "np"}.
constexpr std::string_view kPythonHeader =
    R"({"__metadata__":{"format":"np"},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
    R"("b":{"dtype":"I32","shape":[2],"data_offsets":[4,12]},)"
    R"("a":{"dtype":"F16","shape":[1,3],"data_offsets":[12,18]}}     )";
constexpr std::string_view kPythonData{
    "\x00\x00@@\x07\x00\x00\x00\xff\xff\xff\xff\x00>\x00\xc0\x00"
    "4",
    18};

TEST_F(Safetensors, ReadsAFileOfThePythonPackage) {
  const std::string content = raw_safetensors(kPythonHeader, kPythonData);
  ASSERT_EQ(content.size(), 226U);
  const SafetensorsFile file = open(content);
  ASSERT_EQ(file.tensors().size(), 3U);
  const TensorView& s = file.tensors()[0];
  const TensorView& b = file.tensors()[1];
  const TensorView& a = file.tensors()[2];
  EXPECT_EQ(s.name, "s");
  EXPECT_THAT(s.shape, IsEmpty());
  EXPECT_EQ(s.n_elements(), 1);
  EXPECT_EQ(b.dtype, DType::kI32);
  EXPECT_THAT(b.shape, ElementsAre(2));
  EXPECT_EQ(std::memcmp(b.bytes.data(), "\x07\0\0\0\xff\xff\xff\xff", 8), 0);
  EXPECT_EQ(a.dtype, DType::kF16);
  EXPECT_THAT(a.shape, ElementsAre(1, 3));
  EXPECT_THAT(file.metadata(), ElementsAre(std::pair<const std::string, std::string>("format", "np")));
  std::vector<float> values(3);
  read_floats(a, values);
  EXPECT_THAT(values, ElementsAre(1.5F, -2.0F, 0.25F));
}

TEST_F(Safetensors, NamesAndSizesOfDtypesAreThoseOfTheFormat) {
  const std::vector<std::tuple<DType, std::string, int64_t>> expected = {
      {DType::kU8, "U8", 1},   {DType::kI8, "I8", 1},    {DType::kI16, "I16", 2},   {DType::kI32, "I32", 4},
      {DType::kI64, "I64", 8}, {DType::kF16, "F16", 2},  {DType::kBF16, "BF16", 2}, {DType::kF32, "F32", 4},
      {DType::kF64, "F64", 8}, {DType::kBool, "BOOL", 1}};
  for (const auto& [dtype, name, bytes] : expected) {
    EXPECT_EQ(dtype_name(dtype), name);
    EXPECT_EQ(dtype_bytes(dtype), bytes);
    const std::string n = std::to_string(2 * bytes);
    const SafetensorsFile file = open(raw_safetensors(
        R"({"t":{"dtype":")" + name + R"(","shape":[2],"data_offsets":[0,)" + n + "]}}", std::string(2 * bytes, '\0')));
    EXPECT_EQ(file.tensors()[0].dtype, dtype);
  }
}

TEST_F(Safetensors, SortsByOffsetAndAllowsTensorsWithoutElements) {
  const SafetensorsFile file = open(raw_safetensors(
      R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]},"empty":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]},)"
      R"("a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"last":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})",
      "01234567"));
  std::vector<std::string> names;
  for (const TensorView& tensor : file.tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("a", "empty", "b", "last"));
  EXPECT_EQ(static_cast<char>(file.tensors()[2].bytes[0]), '4');
  EXPECT_EQ(file.tensors()[1].n_elements(), 0);
}

TEST_F(Safetensors, RefusesTruncatedFilesAtEveryLength) {
  const std::string content = raw_safetensors(kPythonHeader, kPythonData);
  for (size_t length = 0; length < content.size(); ++length) {
    ASSERT_THAT(refusal(content.substr(0, length)), HasSubstr("Was the file truncated?")) << length;
  }
  EXPECT_THAT(refusal(content.substr(0, 225)),
              HasSubstr("length: got 225 bytes, expected 226. Was the file truncated?"));
  EXPECT_THAT(refusal(content.substr(0, 100)), HasSubstr("length: got 100 bytes, expected at least 208 (header)"));
}

TEST_F(Safetensors, RefusesBytesAfterTheLastTensor) {
  EXPECT_THAT(refusal(raw_safetensors(kPythonHeader, kPythonData) + "xy"),
              HasSubstr("length: got 228 bytes, expected 226. The last 2 belong to no tensor"));
}

TEST_F(Safetensors, RefusesAHeaderLengthAboveTheCap) {
  EXPECT_THAT(refusal(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8) + "{}"),
              HasSubstr("header length: got 100000001 bytes, expected at most 100000000"));
  EXPECT_THAT(refusal(std::string(16, '\xff')), HasSubstr("header length: got 18446744073709551615"));
}

TEST_F(Safetensors, RecognizesAGitLfsPointer) {
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"), HasSubstr("git lfs pull"));
}

TEST_F(Safetensors, RefusesHeadersThatAreNotOneObject) {
  EXPECT_THAT(refusal_of_header("[1]"), HasSubstr("header: got array, expected an object"));
  EXPECT_THAT(refusal_of_header("{\"a\":"), HasSubstr("header] not well-formed JSON"));
  EXPECT_THAT(refusal_of_header("{}"), HasSubstr("tensors: got 0, expected at least 1"));
  EXPECT_THAT(refusal_of_header(R"({"__metadata__":{"a":"b"}})"), HasSubstr("tensors: got 0"));
  EXPECT_THAT(refusal_of_header(R"({"__metadata__":{"a":1}})"), HasSubstr("__metadata__ \"a\": got number"));
  EXPECT_THAT(refusal_of_header(R"({"__metadata__":[]})"), HasSubstr("__metadata__: got array"));
}

TEST_F(Safetensors, RefusesDuplicateNames) {
  const std::string entry = R"("a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]})";
  EXPECT_THAT(refusal_of_header("{" + entry + "," + entry + "}"), HasSubstr("\"a\": got it twice"));
}

TEST_F(Safetensors, RefusesOverlappingTensors) {
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},)"
                                R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})"),
              HasSubstr("tensor \"b\" data_offsets: got begin 4, expected 5 (the end of \"a\"): tensors overlap"));
}

TEST_F(Safetensors, RefusesGaps) {
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                                R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})"),
              HasSubstr("got begin 4, expected 3 (the end of \"a\"): bytes between tensors belong to none"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[1,8]}})"),
              HasSubstr("got begin 1, expected 0 (the end of the header)"));
}

TEST_F(Safetensors, RefusesEntriesThatDoNotAddUp) {
  const auto entry = [](const char* dtype, const char* shape, const char* offsets) {
    return fmt::format(R"({{"w":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets);
  };
  const auto refused = [&](const char* dtype, const char* shape, const char* offsets) {
    const std::string message = refusal_of_header(entry(dtype, shape, offsets));
    EXPECT_THAT(message, HasSubstr("tensor \"w\""));
    return message;
  };
  EXPECT_THAT(refused("\"F31\"", "[2]", "[0,8]"), HasSubstr("dtype: got \"\"F31\"\", expected one of U8 I8"));
  EXPECT_THAT(refused("7", "[2]", "[0,8]"), HasSubstr("dtype: got \"7\""));
  EXPECT_THAT(refused("\"F32\"", "[3]", "[0,8]"),
              HasSubstr("data_offsets [0, 8]: got 8 bytes, expected 12 for F32 [3]"));
  EXPECT_THAT(refused("\"F32\"", "[1]", "[0,8]"),
              HasSubstr("data_offsets [0, 8]: got 8 bytes, expected 4 for F32 [1]"));
  EXPECT_THAT(refused("\"F32\"", "[2]", "[8,0]"), HasSubstr("data_offsets: got [8, 0], expected begin <= end"));
  EXPECT_THAT(refused("\"F32\"", "[2]", "[0,8,9]"), HasSubstr("data_offsets: got array of 3 items, expected two"));
  EXPECT_THAT(refused("\"F32\"", "[2]", "[0,8.0]"), HasSubstr("expected two non-negative integers"));
  EXPECT_THAT(refused("\"F32\"", "[2]", "[-8,0]"), HasSubstr("expected two non-negative integers"));
  EXPECT_THAT(refused("\"F32\"", "[2.0]", "[0,8]"), HasSubstr("shape: got \"2.0\", expected non-negative integers"));
  EXPECT_THAT(refused("\"F32\"", "[-2]", "[0,8]"), HasSubstr("shape: got \"-2\""));
  EXPECT_THAT(refused("\"F32\"", "2", "[0,8]"), HasSubstr("shape: got \"2\", expected a list"));
  EXPECT_THAT(refusal_of_header(R"({"w":{"dtype":"F32","shape":[2]}})"), HasSubstr("data_offsets: missing"));
  EXPECT_THAT(refusal_of_header(R"({"w":[]})"), HasSubstr("entry: got array, expected an object"));
}

TEST_F(Safetensors, RefusesShapesThatOverflow) {
  const auto refused = [&](const std::string& shape) {
    return refusal_of_header(R"({"w":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,8]}})");
  };
  // 2^31 * 2^31 * 4 = 2^64, which is 0 in 64 bits; 2^62 * 4 likewise; 2^61 * 4 is negative as int64.
  EXPECT_THAT(refused("[2147483648,2147483648]"), HasSubstr("overflows"));
  EXPECT_THAT(refused("[4611686018427387904]"), HasSubstr("overflows"));
  EXPECT_THAT(refused("[2305843009213693952]"), HasSubstr("overflows"));
  EXPECT_THAT(refused("[0,18446744073709551615]"), HasSubstr("overflows"));
  EXPECT_THAT(refused("[18446744073709551616]"), HasSubstr("expected non-negative integers"));
  std::string many = "[1";
  for (int i = 0; i < 64; ++i) many += ",1";
  EXPECT_THAT(refused(many + "]"), HasSubstr("shape: got 65 dimensions, expected at most 64"));
}

TEST_F(Safetensors, RefusesOffsetsFarOutsideTheFile) {
  // The tensor's own numbers agree; the file just is not that long.
  EXPECT_THAT(
      refusal_of_header(R"({"w":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}})"),
      HasSubstr("Was the file truncated?"));
  EXPECT_THAT(refusal_of_header(
                  R"({"w":{"dtype":"U8","shape":[8],"data_offsets":[18446744073709551607,18446744073709551615]}})"),
              HasSubstr("got begin 18446744073709551607, expected 0"));
}

TEST_F(Safetensors, MessagesAboutHostileNamesStayShort) {
  EXPECT_LT(refusal_of_header("{\"" + std::string(100'000, 'n') + "\":[]}").size(), 1000U);
  EXPECT_LT(refusal_of_header("{\"a\":{\"dtype\":\"" + std::string(100'000, 'n') + "\"}}").size(), 1000U);
}

TEST_F(Safetensors, ReadsTheDemoModel) {
  const SafetensorsFile file(test::demo_model() / "model.safetensors");
  EXPECT_EQ(file.tensors().size(), 56U);
  int64_t bytes = 0;
  for (const TensorView& tensor : file.tensors()) {
    EXPECT_EQ(tensor.dtype, DType::kBF16);
    bytes += static_cast<int64_t>(tensor.bytes.size());
  }
  EXPECT_EQ(bytes, 10361344);
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

}  // namespace
}  // namespace scalebits
