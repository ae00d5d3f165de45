// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/unicode.h"

#include <gtest/gtest.h>

#include <chrono>

#include "scalebits/base/rng.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

std::string repaired(std::string_view bytes, size_t step) {
  Utf8Stream stream;
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += step) stream.push(bytes.substr(i, step), out);
  stream.finish(out);
  return out;
}

// Expected values: Python 3.11, bytes.decode(errors="replace"); the first is table 3-8 of the Unicode standard.
TEST(Unicode, ReplacesEachMaximalPartOfIllFormedBytesByOneMark) {
  const std::string mark = "\xef\xbf\xbd";
  const auto marks = [&](int n) {
    std::string all;
    while (n-- > 0) all += mark;
    return all;
  };
  using namespace std::string_view_literals;
  for (const size_t step : {1U, 2U, 3U, 100U}) {
    EXPECT_EQ(repaired("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"sv, step), marks(8) + "A");
    EXPECT_EQ(repaired("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"sv, step), marks(8) + "A");
    EXPECT_EQ(repaired("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"sv, step), marks(5) + "A" + marks(2) + "B");
    EXPECT_EQ(repaired("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"sv, step), marks(4) + "A");
    EXPECT_EQ(repaired("\xf0\x9f\x99"sv, step), mark);
    EXPECT_EQ(repaired("\xe6\x97\xa5\xf0\x9f\x99\x82\xc3\xa9\0x"sv, step), "\xe6\x97\xa5\xf0\x9f\x99\x82\xc3\xa9\0x"sv);
  }
}

TEST(Unicode, RepairedBytesAreAlwaysTextAndTextIsNotChanged) {
  Rng rng(5);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (uint64_t n = rng.below(20); n > 0; --n)
      bytes += static_cast<char>(rng.below(2) ? 0x80 + rng.below(128) : rng.below(256));
    const std::string text = repaired(bytes, 1);
    EXPECT_EQ(find_invalid_utf8(text), std::string::npos);
    EXPECT_EQ(repaired(text, 1), text);
    EXPECT_EQ(repaired(bytes, 7), text);
  }
}

TEST(Unicode, WalksCharactersBothWays) {
  const std::string text = "a\xc3\xa9\xe6\x97\xa5\xf0\x9f\x99\x82";
  const std::vector<char32_t> expected = {'a', 0xe9, 0x65e5, 0x1f642};
  std::vector<char32_t> forwards, backwards;
  for (size_t pos = 0; pos < text.size();) forwards.push_back(next_character(text, pos));
  for (size_t pos = text.size(); pos > 0;) backwards.insert(backwards.begin(), previous_character(text, pos));
  EXPECT_EQ(forwards, expected);
  EXPECT_EQ(backwards, expected);
  std::string again;
  for (const char32_t c : expected) append_utf8(again, c);
  EXPECT_EQ(again, text);
}

// The first rows of Unicode's NormalizationTest.txt, part 0 and 1, and its Hangul example.
TEST(Unicode, GivesTheFourNormalForms) {
  const auto forms = [](std::string_view text) {
    return std::vector<std::string>{normalize(text, NormalForm::kNfc), normalize(text, NormalForm::kNfd),
                                    normalize(text, NormalForm::kNfkc), normalize(text, NormalForm::kNfkd)};
  };
  using Forms = std::vector<std::string>;
  EXPECT_EQ(forms("\u1e0a\u0323"), (Forms{"\u1e0c\u0307", "D\u0323\u0307", "\u1e0c\u0307", "D\u0323\u0307"}));
  EXPECT_EQ(forms("\u1e9b\u0323"), (Forms{"\u1e9b\u0323", "\u017f\u0323\u0307", "\u1e69", "s\u0323\u0307"}));
  EXPECT_EQ(forms("\uac01"), (Forms{"\uac01", "\u1100\u1161\u11a8", "\uac01", "\u1100\u1161\u11a8"}));
  EXPECT_EQ(forms("\ufb01 \u00b2"), (Forms{"\ufb01 \u00b2", "\ufb01 \u00b2", "fi 2", "fi 2"}));
  EXPECT_EQ(forms("plain"), (Forms{"plain", "plain", "plain", "plain"}));
  EXPECT_EQ(forms("\u212b"), (Forms{"\u00c5", "A\u030a", "\u00c5", "A\u030a"}));
}

TEST(Unicode, NormalizesEndlessRunsOfMarksInNearLinearTime) {
  // 400,000 marks of alternating classes: sorting them by insertion takes 4e10 steps, minutes.
  std::string marks = "a";
  for (int i = 0; i < 200'000; ++i) marks += "\u0301\u0323";
  const auto start = std::chrono::steady_clock::now();
  const std::string sorted = normalize(marks, NormalForm::kNfd);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_EQ(sorted.size(), marks.size());
  EXPECT_EQ(sorted.substr(0, 5), "a\u0323\u0323");
  EXPECT_TRUE(sorted.ends_with("\u0301\u0301"));
}

TEST(Unicode, KnowsSpacesNumbersAndWords) {
  for (const char32_t c : {0x09, 0x0d, 0x20, 0x85, 0xa0, 0x1680, 0x2003, 0x2028, 0x3000})
    EXPECT_TRUE(is_white_space(c)) << static_cast<int>(c);
  for (const char32_t c : {0x08, 0x1c, 0x180e, 0x200b, 0xfeff, 0x61})
    EXPECT_FALSE(is_white_space(c)) << static_cast<int>(c);
  for (const char32_t c : {U'0', U'\u00bd', U'\u0663', U'\u2167', U'\u2460'})
    EXPECT_TRUE(is_number(c)) << static_cast<int>(c);
  for (const char32_t c : {U'a', U'\u4e00', U'.'}) EXPECT_FALSE(is_number(c)) << static_cast<int>(c);
  for (const char32_t c : {U'a', U'_', U'9', U'\u0301', U'\u65e5', U'\u24b6', U'\u200d'})
    EXPECT_TRUE(is_word(c)) << static_cast<int>(c);
  for (const char32_t c : {U'-', U' ', U'\u00bd', U'\u2460', U'\U0001f642'})
    EXPECT_FALSE(is_word(c)) << static_cast<int>(c);
}

}  // namespace
}  // namespace scalebits
