// SPDX-License-Identifier: Apache-2.0
// Expected answers: Python's re with the harness's patterns.
#include "scalebits/eval/answer_match.h"

#include <gtest/gtest.h>

namespace scalebits {
namespace {

TEST(AnswerMatch, FiltersFindWhatTheHarnessesPatternsFind) {
  const struct {
    const char *text, *strict, *flexible;
  } cases[] = {{"so 3 + 4 = 7.\n#### 7", "7", "7"},
               {"no number", "[invalid]", "[invalid]"},
               {"-5", "[invalid]", "-5"},
               {"a - 5 b", "[invalid]", "5"},
               {"$1,234.50 is it.", "[invalid]", "$1,234.50"},
               {"#### -1,000 and #### 2", "-1,000", "2"},
               {"#### x #### 5.", "5.", "5."},
               {"x.. 7", "[invalid]", "7"},
               {"-$3", "[invalid]", "-$3"},
               {"--12", "[invalid]", "-12"},
               {"1-2", "[invalid]", "-2"},
               {"9", "[invalid]", "9"},
               {".", "[invalid]", "[invalid]"},
               {"a.,b", "[invalid]", ".,"},
               {"", "[invalid]", "[invalid]"}};
  for (const auto& c : cases) {
    EXPECT_EQ(strict_answer(c.text), c.strict) << c.text;
    EXPECT_EQ(flexible_answer(c.text), c.flexible) << c.text;
  }
}

TEST(AnswerMatch, IgnoresWhatExactMatchIgnores) {
  EXPECT_TRUE(answers_match("1,234.", "4 * 5\n#### 1234"));
  EXPECT_TRUE(answers_match("$18", "a #### 3 #### 18"));
  EXPECT_TRUE(answers_match("7.\n", "7\n"));
  EXPECT_FALSE(answers_match("18.0", "#### 18"));
  EXPECT_FALSE(answers_match("-18", "#### 18"));
  EXPECT_FALSE(answers_match("[invalid]", "#### 18"));
}

}  // namespace
}  // namespace scalebits
