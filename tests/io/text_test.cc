// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/text.h"

#include <cstdint>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;
using Documents = std::vector<std::string>;

constexpr size_t kNone = std::string_view::npos;

class Text : public testing::Test {
 protected:
  Documents read(const std::string& name, const std::string& content, std::string_view separator = {}) {
    write_text_file(dir_ / name, content);
    return read_documents(dir_ / name, separator);
  }
  std::string refusal(const std::string& name, const std::string& content, std::string_view separator = {}) {
    return error_text<FormatError>([&] { read(name, content, separator); });
  }
  TempDir dir_;
};

std::string encoded(uint32_t code_point) {
  const auto byte = [](uint32_t value) { return std::string(1, static_cast<char>(value)); };
  if (code_point < 0x80) return byte(code_point);
  if (code_point < 0x800) return byte(0xc0 | code_point >> 6) + byte(0x80 | (code_point & 0x3f));
  if (code_point < 0x10000) {
    return byte(0xe0 | code_point >> 12) + byte(0x80 | ((code_point >> 6) & 0x3f)) + byte(0x80 | (code_point & 0x3f));
  }
  return byte(0xf0 | code_point >> 18) + byte(0x80 | ((code_point >> 12) & 0x3f)) +
         byte(0x80 | ((code_point >> 6) & 0x3f)) + byte(0x80 | (code_point & 0x3f));
}

TEST(Utf8, AcceptsEveryScalarValueAndNothingElse) {
  for (uint32_t c = 0; c < 0x120000; ++c) {
    const bool valid = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
    ASSERT_EQ(find_invalid_utf8(encoded(c)), valid ? kNone : 0U) << std::hex << c;
  }
}

TEST(Utf8, RefusesEveryPairThatIsNotWellFormed) {
  // A pair of bytes is well-formed when it is two ASCII characters or one two-byte character (lead C2..DF).
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string pair{static_cast<char>(a), static_cast<char>(b)};
      const bool valid = (a < 0x80 && b < 0x80) || (a >= 0xc2 && a <= 0xdf && b >= 0x80 && b < 0xc0);
      const size_t expected = valid ? kNone : (a < 0x80 ? 1U : 0U);
      ASSERT_EQ(find_invalid_utf8(pair), expected) << a << " " << b;
    }
  }
}

TEST(Utf8, RefusesOverlongFormsAndCutCharacters) {
  EXPECT_EQ(find_invalid_utf8("ab\xc0\xaf"), 2U);
  EXPECT_EQ(find_invalid_utf8("\xe0\x9f\xbf"), 0U);
  EXPECT_EQ(find_invalid_utf8("\xf0\x8f\xbf\xbf"), 0U);
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0U);
  EXPECT_EQ(find_invalid_utf8("0123456789\xe2\x82"), 10U);
  EXPECT_EQ(find_invalid_utf8("\xf0\x9f\x99"), 0U);
  EXPECT_EQ(find_invalid_utf8("12345678"
                              "1234567\x80"
                              "9"),
            15U);
  EXPECT_EQ(find_invalid_utf8(""), kNone);
}

TEST_F(Text, TakesAPlainFileAsOneDocument) {
  EXPECT_THAT(read("a.txt", "one\n\ntwo \n"), ElementsAre("one\n\ntwo \n"));
  EXPECT_THAT(read("bom.txt", "\xef\xbb\xbfhi"), ElementsAre("hi"));
}

TEST_F(Text, SplitsAtASeparatorAndDropsEmptyPieces) {
  EXPECT_THAT(read("a.txt", "<|e|> one\n<|e|>\n<|e|>\n two three <|e|>", "<|e|>"), ElementsAre("one", "two three"));
  EXPECT_THAT(refusal("b.txt", "<|e|> <|e|>", "<|e|>"), HasSubstr("documents: got none"));
}

TEST_F(Text, ReadsJsonLines) {
  EXPECT_THAT(read("a.jsonl", "\xef\xbb\xbf{\"text\": \"a\\nb\", \"url\": 1}\r\n\n{\"text\": \"\\u00e9\"}"),
              ElementsAre("a\nb", "\xc3\xa9"));
}

TEST_F(Text, NamesTheLineOfAMalformedRecord) {
  const std::string good = "{\"text\": \"a\"}\n";
  EXPECT_THAT(refusal("a.jsonl", good + "\n{\"text\": \n"), HasSubstr("a.jsonl:3] not well-formed JSON"));
  EXPECT_THAT(refusal("a.jsonl", good + "{\"txt\": \"a\"}"), HasSubstr("a.jsonl:2] text: missing, expected a string"));
  EXPECT_THAT(refusal("a.jsonl", good + "{\"text\": 5}"), HasSubstr("a.jsonl:2] text: got number, expected a string"));
  EXPECT_THAT(refusal("a.jsonl", "[1]"), HasSubstr("a.jsonl:1] line: got array, expected an object"));
}

TEST_F(Text, RefusesEmptyFiles) {
  EXPECT_THAT(refusal("a.txt", ""), HasSubstr("got an empty file"));
  EXPECT_THAT(refusal("b.txt", "\xef\xbb\xbf"), HasSubstr("got an empty file"));
  EXPECT_THAT(refusal("c.jsonl", "\n \n"), HasSubstr("documents: got none"));
}

TEST_F(Text, RefusesOtherEncodingsWithTheOffset) {
  EXPECT_THAT(refusal("a.txt", "caf\xe9 au lait"), HasSubstr("byte 3: got 0xe9, which is not part of UTF-8"));
  EXPECT_THAT(refusal("b.txt", "\xff\xfeh"), HasSubstr("UTF-16"));
  EXPECT_THAT(refusal("c.jsonl", "{\"text\": \"\xe9\"}"), HasSubstr("byte 10: got 0xe9"));
}

TEST_F(Text, ReportsAMissingFile) {
  EXPECT_THAT(error_text<IoError>([&] { read_documents(dir_ / "none.txt"); }), HasSubstr("cannot open: No such file"));
}

TEST(Quote, EscapesAndShortens) {
  EXPECT_EQ(quote("a b"), "\"a b\"");
  EXPECT_EQ(quote("a\n\x01\xe9"), "\"a\\n\\x01\\xe9\"");
  EXPECT_EQ(quote("abcdef", 3), "\"abc...\"");
}

}  // namespace
}  // namespace scalebits
