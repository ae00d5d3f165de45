// SPDX-License-Identifier: Apache-2.0
/// Real maps are held to the sentencepiece package in sentencepiece_test.cc; here are those that no trainer writes.
#include "scalebits/io/characters_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

constexpr uint32_t kLeaf = 1U << 31, kHasLeaf = 1U << 8;
uint32_t step(uint32_t label, uint32_t offset) { return label | offset << 10; }

class CharactersMapTest : public testing::Test {
 protected:
  /// "a" is replaced by the first string, "ab" by the second.
  CharactersMapTest() : units_(512, 'z') {
    units_[0] = step(0, 256);
    units_[256 ^ 'a'] = step('a', 128) | kHasLeaf;
    const uint32_t behind_a = 256 ^ 'a' ^ 128;
    units_[behind_a] = kLeaf | 0;
    units_[behind_a ^ 'b'] = step('b', 3) | kHasLeaf;
    units_[behind_a ^ 'b' ^ 3] = kLeaf | 2;
  }

  [[nodiscard]] CharactersMap read(const std::string& strings) const {
    std::string map(4 + 4 * units_.size(), '\0');
    const auto bytes = static_cast<uint32_t>(4 * units_.size());
    std::memcpy(map.data(), &bytes, 4);
    std::memcpy(map.data() + 4, units_.data(), bytes);
    return {map + strings, "x"};
  }
  [[nodiscard]] std::string refusal(const std::string& strings) const {
    return error_text<FormatError>([&] { (void)read(strings); });
  }

  std::vector<uint32_t> units_;
  const std::string strings_{
      "1\0"
      "23\0",
      5};
};

TEST_F(CharactersMapTest, ReplacesTheLongestTextThatItKnows) {
  EXPECT_EQ(read(strings_).apply("a ab abb b\u65e5", 100), "1 23 23b b\u65e5");
  EXPECT_EQ(read(strings_).apply("", 100), "");
}

TEST_F(CharactersMapTest, ARootThatLeadsOutsideIsRefused) {
  units_[0] = step(0, 512);
  EXPECT_THAT(refusal(strings_), HasSubstr("a step outside of the trie"));
  units_[0] = kLeaf;
  EXPECT_THAT(refusal(strings_), HasSubstr("a leaf for a root"));
}

TEST_F(CharactersMapTest, AnyUnitThatLeadsOutsideIsRefused) {
  units_[9] = step(0, 1024);
  EXPECT_THAT(refusal(strings_), HasSubstr("a step outside of the trie"));
  units_[9] = step(0, 1) | 1U << 9;  // an offset in units of 256
  EXPECT_NO_THROW(read(strings_));
  units_[9] = step(0, 2) | 1U << 9;
  EXPECT_THAT(refusal(strings_), HasSubstr("a step outside of the trie"));
}

TEST_F(CharactersMapTest, StringsOutsideOrWithoutAnEndAreRefused) {
  EXPECT_THAT(refusal(std::string("1\0", 2)), HasSubstr("a leaf outside of the strings"));
  EXPECT_THAT(refusal("1234"), HasSubstr("a string without an end"));
  EXPECT_THAT(refusal(""), HasSubstr("a wrong length"));
}

TEST_F(CharactersMapTest, TextThatGrowsBeyondItsBoundIsRefused) {
  EXPECT_EQ(read(strings_).apply("abab", 4), "2323");
  EXPECT_THAT(error_text<FormatError>([&] { (void)read(strings_).apply("abab", 3); }), HasSubstr("expected at most 3"));
}

TEST_F(CharactersMapTest, ReplacementsThatAreNotTextAreRefused) {
  EXPECT_THAT(error_text<FormatError>([&] {
                (void)read(std::string("\xe6\0"
                                       "23\0",
                                       5))
                    .apply("a", 9);
              }),
              HasSubstr("not UTF-8"));
}

}  // namespace
}  // namespace scalebits
