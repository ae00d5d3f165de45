// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/gguf.h"

#include "scalebits/base/errors.h"
#include "tests/data.h"
#include "tests/io/error_text.h"
#include "tests/io/raw_gguf.h"

namespace scalebits {
namespace {

using test::error_text;
using test::gguf_text;
using test::raw;
using test::RawGguf;
using testing::ElementsAre;
using testing::HasSubstr;

class Gguf : public testing::Test {
 protected:
  GgufFile open(const std::string& content) {
    write_text_file(dir_ / "x.gguf", content);
    return GgufFile(dir_ / "x.gguf");
  }
  template <class E = FormatError>
  std::string refusal(const std::string& content) {
    const std::string message = error_text<E>([&] { open(content); });
    EXPECT_THAT(message, HasSubstr("x.gguf"));
    return message;
  }
  test::TempDir dir_;
};

TEST_F(Gguf, ReadsValuesOfEveryType) {
  const GgufFile file = open(RawGguf()
                                 .key("u8", 0, raw(uint8_t{200}))
                                 .key("i8", 1, raw(int8_t{-2}))
                                 .key("u16", 2, raw(uint16_t{60000}))
                                 .key("i16", 3, raw(int16_t{-300}))
                                 .key("u32", 4, raw(uint32_t{4000000000}))
                                 .key("i32", 5, raw(int32_t{-70000}))
                                 .key("f32", 6, raw(1.5F))
                                 .flag("yes", true)
                                 .flag("no", false)
                                 .text("text", "caf\u00e9")
                                 .key("u64", 10, raw(uint64_t{1} << 40))
                                 .key("i64", 11, raw(-(int64_t{1} << 40)))
                                 .key("f64", 12, raw(2.5))
                                 .texts("texts", {"a", "", "bc"})
                                 .numbers<float>("floats", 6, {0.25F, -1})
                                 .numbers<int32_t>("ints", 5, {-1, 7})
                                 .texts("none", {})
                                 .file());
  EXPECT_EQ(file.version(), 3U);
  const auto integer = [&](const char* key) { return file.integer(key, INT64_MIN, INT64_MAX); };
  EXPECT_EQ(integer("u8"), 200);
  EXPECT_EQ(integer("i8"), -2);
  EXPECT_EQ(integer("u16"), 60000);
  EXPECT_EQ(integer("i16"), -300);
  EXPECT_EQ(integer("u32"), 4000000000);
  EXPECT_EQ(integer("i32"), -70000);
  EXPECT_EQ(integer("u64"), int64_t{1} << 40);
  EXPECT_EQ(integer("i64"), -(int64_t{1} << 40));
  EXPECT_EQ(file.flag("yes"), true);
  EXPECT_EQ(file.flag("no"), false);
  EXPECT_EQ(file.text("text"), "caf\u00e9");
  EXPECT_THAT(*file.texts("texts"), ElementsAre("a", "", "bc"));
  EXPECT_THAT(*file.floats("floats"), ElementsAre(0.25F, -1.0F));
  EXPECT_THAT(*file.integers("ints"), ElementsAre(-1, 7));
  EXPECT_THAT(*file.texts("none"), ElementsAre());
  EXPECT_TRUE(file.contains("f32"));
  EXPECT_FALSE(file.contains("f3"));
  EXPECT_EQ(file.text("missing"), std::nullopt);
  EXPECT_EQ(file.integers("missing"), std::nullopt);
  EXPECT_TRUE(file.tensors().empty());
}

TEST_F(Gguf, ReadsVersion2) { EXPECT_EQ(open(RawGguf().number("a", 1).file("", 32, 2)).version(), 2U); }

TEST_F(Gguf, AValueOfAnotherKindIsRefusedByKey) {
  const GgufFile file =
      open(RawGguf().text("t", "x").number("n", 7).texts("ts", {"a"}).key("big", 10, raw(UINT64_MAX)).file());
  const auto refused = [&](const std::function<void()>& call) { return error_text<FormatError>(call); };
  EXPECT_THAT(refused([&] { static_cast<void>(file.integer("t", 0, 9)); }),
              HasSubstr("t: got one string, expected an integer in [0, 9]"));
  EXPECT_THAT(refused([&] { static_cast<void>(file.integer("n", 0, 6)); }), HasSubstr("n: got 7, expected an integer"));
  EXPECT_THAT(refused([&] { static_cast<void>(file.integer("big", 0, 9)); }), HasSubstr("big: got one u64"));
  EXPECT_THAT(refused([&] { static_cast<void>(file.text("ts")); }),
              HasSubstr("ts: got an array of 1 string, expected one string"));
  EXPECT_THAT(refused([&] { static_cast<void>(file.texts("n")); }), HasSubstr("n: got one u32, expected an array of"));
  EXPECT_THAT(refused([&] { static_cast<void>(file.integers("ts")); }), HasSubstr("expected an array of i32"));
  EXPECT_THAT(refused([&] { static_cast<void>(file.flag("n")); }), HasSubstr("expected one bool"));
}

TEST_F(Gguf, FindsTensorsWithTheirShapesAndBytes) {
  // A row of 32 of Q8_0 has 34 bytes; two rows 68, so the next begins at 96.
  const std::string data = std::string(68, 'q') + std::string(28, '\0') + "0123456789ab";
  const GgufFile file = open(RawGguf().tensor("w", {32, 2}, 8, 0).tensor("b", {3}, 0, 96).file(data));
  ASSERT_EQ(file.tensors().size(), 2U);
  const GgufTensor& w = file.tensors()[0];
  EXPECT_EQ(w.name, "w");
  EXPECT_EQ(w.type->name, "Q8_0");
  EXPECT_THAT(w.shape, ElementsAre(2, 32));
  EXPECT_EQ(w.bytes.size(), 68U);
  EXPECT_EQ(static_cast<char>(w.bytes[67]), 'q');
  const GgufTensor& b = file.tensors()[1];
  EXPECT_EQ(b.bytes.size(), 12U);
  EXPECT_EQ(static_cast<char>(b.bytes[11]), 'b');
}

TEST_F(Gguf, AlignmentIsTheFiles) {
  const RawGguf content = RawGguf().number("general.alignment", 64).tensor("b", {1}, 0, 64);
  EXPECT_EQ(static_cast<char>(open(content.file(std::string(64, '\0') + "abcd", 64)).tensors()[0].bytes[0]), 'a');
  EXPECT_THAT(refusal(RawGguf().number("general.alignment", 64).tensor("b", {1}, 0, 32).file(std::string(99, '\0'))),
              HasSubstr("tensor \"b\": got offset 32, expected a multiple of 64"));
  EXPECT_THAT(refusal(RawGguf().number("general.alignment", 48).file()),
              HasSubstr("general.alignment: got 48, expected a power of two"));
  EXPECT_THAT(refusal(RawGguf().number("general.alignment", 0).file()), HasSubstr("general.alignment: got 0"));
  EXPECT_THAT(refusal(RawGguf().text("general.alignment", "32").file()),
              HasSubstr("general.alignment: got one string"));
}

TEST_F(Gguf, EveryCutIsRefused) {
  const std::string whole = RawGguf()
                                .number("n", 7)
                                .text("t", "abc")
                                .texts("ts", {"a", "b"})
                                .numbers<float>("f", 6, {1, 2})
                                .tensor("w", {4, 2}, 0, 0)
                                .file(std::string(32, 'x'));
  EXPECT_EQ(open(whole).tensors().size(), 1U);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THAT(error_text<FormatError>([&] { open(whole.substr(0, length)); }), HasSubstr("x.gguf")) << length;
  }
}

TEST_F(Gguf, OtherFilesAndVersionsAreRefusedByName) {
  EXPECT_THAT(refusal(""), HasSubstr("first bytes: got \"\", expected \"GGUF\""));
  EXPECT_THAT(refusal("ggjt1234"), HasSubstr("got \"ggjt\""));
  EXPECT_THAT(refusal<Unsupported>(RawGguf().file("", 32, 1)), HasSubstr("version: got 1, expected 2 or 3."));
  EXPECT_THAT(refusal<Unsupported>(RawGguf().file("", 32, 0x03000000)), HasSubstr("This file is big endian"));
}

TEST_F(Gguf, CountsAndLengthsBeyondTheFileAreRefusedBeforeTheyAreUsed) {
  const std::string head = "GGUF" + raw(uint32_t{3});
  const std::string zeros(64, '\0');
  for (const uint64_t huge : {uint64_t{1000}, uint64_t{1} << 40, UINT64_MAX}) {
    EXPECT_THAT(refusal(head + raw(uint64_t{0}) + raw(huge) + zeros), HasSubstr("metadata count: got"));
    EXPECT_THAT(refusal(head + raw(huge) + raw(uint64_t{0}) + zeros), HasSubstr("tensor count: got"));
    EXPECT_THAT(refusal(RawGguf().array("a", 8, huge, "").file()), HasSubstr("a: count: got"));
    EXPECT_THAT(refusal(RawGguf().array("a", 12, huge, "").file()), HasSubstr("a: count: got"));
    EXPECT_THAT(refusal(RawGguf().key("t", 8, raw(huge) + "abc").file()), HasSubstr("t: got 3 bytes to the end"));
  }
  EXPECT_THAT(refusal(RawGguf().key(std::string(70000, 'k'), 0, "x").file()), HasSubstr("at most 65535"));
}

TEST_F(Gguf, MalformedMetadataIsRefusedByKey) {
  EXPECT_THAT(refusal(RawGguf().number("a", 1).number("a", 1).file()), HasSubstr("a: got this key twice"));
  EXPECT_THAT(refusal(RawGguf().number("", 1).file()), HasSubstr("metadata key 0: got an empty one"));
  EXPECT_THAT(refusal(RawGguf().key("a", 13, raw(1)).file()), HasSubstr("a: got value type 13"));
  EXPECT_THAT(refusal(RawGguf().key("a", 7, raw(uint8_t{2})).file()), HasSubstr("a: got 2, expected 0 or 1"));
  EXPECT_THAT(refusal(RawGguf().text("a", "x\xff").file()), HasSubstr("expected UTF-8 (byte 1 is not)"));
  EXPECT_THAT(refusal(RawGguf().number("\xc3", 1).file()), HasSubstr("metadata key 0: got \"\\xc3\""));
  EXPECT_THAT(refusal<Unsupported>(RawGguf().array("a", 9, 1, "").file()), HasSubstr("a: got an array of arrays"));
}

TEST_F(Gguf, MalformedTensorsAreRefusedByName) {
  const std::string data(512, 'x');
  const auto one = [&](const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
    return RawGguf().tensor("w", sizes, type, offset).file(data);
  };
  EXPECT_EQ(open(one({128}, 0, 0)).tensors().size(), 1U);
  EXPECT_THAT(refusal(one({129}, 0, 0)), HasSubstr("tensor \"w\": got 516 bytes at offset 0"));
  EXPECT_THAT(refusal(one({1}, 0, 512)), HasSubstr("got 4 bytes at offset 512"));
  EXPECT_THAT(refusal(one({1}, 0, UINT64_MAX - 31)), HasSubstr("Was the file truncated?"));
  EXPECT_THAT(refusal(one({}, 0, 0)), HasSubstr("got 0 dimensions, expected 1 to 4"));
  EXPECT_THAT(refusal(one({1, 1, 1, 1, 1}, 0, 0)), HasSubstr("got 5 dimensions"));
  EXPECT_THAT(refusal(one({0}, 0, 0)), HasSubstr("expected at least 1 each"));
  EXPECT_THAT(refusal(one({uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0)), HasSubstr("does not overflow"));
  EXPECT_THAT(refusal(one({uint64_t{1} << 63}, 24, 0)), HasSubstr("does not overflow"));
  EXPECT_THAT(refusal(one({33}, 8, 0)), HasSubstr("got rows of 33 elements, expected a multiple of 32 for Q8_0"));
  EXPECT_THAT(refusal<Unsupported>(one({32}, 4, 0)), HasSubstr("got ggml type 4"));
  EXPECT_THAT(refusal(RawGguf().tensor("w", {1}, 0, 0).tensor("w", {1}, 0, 32).file(data)), HasSubstr("got it twice"));
  EXPECT_THAT(refusal(RawGguf().tensor("", {1}, 0, 0).file(data)), HasSubstr("name of tensor 0: got an empty one"));
  EXPECT_THAT(refusal(RawGguf().tensor(std::string(65, 'n'), {1}, 0, 0).file(data)), HasSubstr("at most 64"));
  EXPECT_THAT(refusal(RawGguf().tensor("a", {9}, 0, 32).tensor("b", {9}, 0, 0).file(data)),
              HasSubstr("tensor \"a\": got offset 32, expected at least 36 (the end of \"b\"). They overlap."));
}

TEST_F(Gguf, BlocksOfEveryTypeHaveGgmlsSizes) {
  // Bits per weight of the types as llama.cpp's documentation gives them.
  const std::vector<std::pair<std::string, double>> expected = {
      {"Q4_0", 4.5},       {"Q4_1", 5},        {"Q5_0", 5.5},       {"Q5_1", 6},       {"Q8_0", 8.5},
      {"Q2_K", 2.625},     {"Q3_K", 3.4375},   {"Q4_K", 4.5},       {"Q5_K", 5.5},     {"Q6_K", 6.5625},
      {"IQ2_XXS", 2.0625}, {"IQ2_XS", 2.3125}, {"IQ3_XXS", 3.0625}, {"IQ1_S", 1.5625}, {"IQ4_NL", 4.5},
      {"IQ3_S", 3.4375},   {"IQ2_S", 2.5625},  {"IQ4_XS", 4.25},    {"IQ1_M", 1.75},   {"TQ1_0", 1.6875},
      {"TQ2_0", 2.0625},   {"MXFP4", 4.25},    {"F16", 16},         {"BF16", 16}};
  for (const auto& [name, bits] : expected) {
    bool found = false;
    for (uint32_t id = 0; id < 64; ++id) {
      const GgmlType* type = find_ggml_type(id);
      if (type == nullptr || type->name != name) continue;
      EXPECT_EQ(8.0 * type->block_bytes / type->block_size, bits) << name;
      found = true;
    }
    EXPECT_TRUE(found) << name;
  }
  EXPECT_EQ(find_ggml_type(4), nullptr);
  EXPECT_EQ(find_ggml_type(UINT32_MAX), nullptr);
}

TEST_F(Gguf, KnowsItsFilesByTheirFirstBytes) {
  write_text_file(dir_ / "a", "GGUF....");
  write_text_file(dir_ / "b", "GGU");
  EXPECT_TRUE(is_gguf(dir_ / "a"));
  EXPECT_FALSE(is_gguf(dir_ / "b"));
  EXPECT_FALSE(is_gguf(dir_ / "missing"));
  EXPECT_FALSE(is_gguf(dir_.path()));
}

}  // namespace
}  // namespace scalebits
