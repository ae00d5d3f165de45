// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/regex.h"

#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

std::vector<std::string> matches(const std::string& pattern, const std::string& text, bool literal = false) {
  std::vector<std::string> found;
  for (const Regex::Span& span : Regex(pattern, literal, "w").find_all(text)) {
    found.push_back(text.substr(span.begin, span.end - span.begin));
  }
  return found;
}
using Found = std::vector<std::string>;

TEST(Regex, FindsAllMatchesFromLeftToRight) {
  EXPECT_EQ(matches("a+|b", "aab ba"), (Found{"aa", "b", "b", "a"}));
  EXPECT_EQ(matches("\\p{L}+", "na\u00efve \u65e5\u672c 12"), (Found{"na\u00efve", "\u65e5\u672c"}));
  EXPECT_EQ(matches(".+", "a.b*c", true), Found{});
  EXPECT_EQ(matches("b*", "a b*b*", true), (Found{"b*", "b*"}));
  EXPECT_EQ(matches("(?<=a)b(?!c)", "abc ab"), Found{"b"});
}

// Each of these reads differently in PCRE2's own dialect; expected values from Oniguruma, through the `tokenizers`
// package (pre_tokenizers.Split), which agrees for every character of Unicode 14.
TEST(Regex, ReadsOnigurumasDialect) {
  EXPECT_EQ(matches("\\s", "\u180e\u0085\u2003"), (Found{"\u0085", "\u2003"}));
  EXPECT_EQ(matches("[^\\s]", "\u180e "), Found{"\u180e"});
  EXPECT_EQ(matches("\\h+", "xAf09 g"), Found{"Af09"});
  EXPECT_EQ(matches("\\v", "\n\x0b\r"), Found{"\x0b"});
  EXPECT_EQ(matches("[\\w]+", "e\u0301_\u00b2\u200d"), Found{"e\u0301_\u00b2"});
  EXPECT_EQ(matches("^.", "ab\ncd"), (Found{"a", "c"}));
  EXPECT_EQ(matches(".$", "ab\ncd"), (Found{"b", "d"}));
  EXPECT_EQ(matches("\\p{Han}", "\u3001\u65e5"), Found{"\u65e5"});  // U+3001 has Han among its script extensions only
  EXPECT_EQ(matches("\\p{^L}|\\u0062", "ab1"), (Found{"b", "1"}));
}

TEST(Regex, GivesEmptyMatchesButNotBehindAnother) {
  const auto spans = Regex("a*", false, "w").find_all("baac");
  ASSERT_EQ(spans.size(), 3U);  // at 0, [1, 3), at 4: the empty one at 3 touches the match before
  EXPECT_EQ(spans[0].end, 0U);
  EXPECT_EQ(spans[1].begin, 1U);
  EXPECT_EQ(spans[1].end, 3U);
  EXPECT_EQ(spans[2].begin, 4U);
}

TEST(Regex, RefusesWhatItWouldMisread) {
  for (const char* pattern : {"[a&&b]", "[a[b]]", "[]a]", "\\b", "(\\w)\\1", "a{1,2}+", "a{,2}", "(?x)a", "a(?i)b",
                              "(*FAIL)", "(?R)", "[\\W]", "\\xff", "\\p{L", "\\", "(?<n>a)", "\\p{a=b}", "\\Qa"}) {
    EXPECT_THAT(error_text<Unsupported>([&] { Regex(pattern, false, "tokenizer.json: key"); }),
                HasSubstr("[tokenizer.json: key] pattern: got "))
        << pattern;
  }
}

TEST(Regex, RefusesMalformedPatterns) {
  EXPECT_THAT(error_text<FormatError>([] { Regex("(a", false, "w"); }), HasSubstr("missing closing parenthesis"));
  EXPECT_THAT(error_text<FormatError>([] { Regex("\\p{Klingon}", false, "w"); }), HasSubstr("unknown property"));
  EXPECT_THAT(error_text<FormatError>([] { Regex(std::string(100'000, 'a'), false, "w"); }),
              HasSubstr("at most 65536"));
  error_text<Unsupported>([] { Regex("", false, "w"); });
}

TEST(Regex, GivesUpOnAPatternThatBacktracksForEver) {
  const Regex bad("(?:a|aa)+$", false, "w");
  EXPECT_THAT(error_text<FormatError>([&] { static_cast<void>(bad.find_all(std::string(60, 'a') + "b")); }),
              HasSubstr("match limit exceeded"));
}

TEST(Regex, AcceptsLongRunsThatNeedOneStepBackPerCharacter) {
  const Regex pattern("\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", false, "w");
  EXPECT_EQ(pattern.find_all(std::string(3'000'000, ' ') + "x").size(), 2U);
}

}  // namespace
}  // namespace scalebits
