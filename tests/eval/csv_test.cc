// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/csv.h"

#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Csv, FieldsLinesAndQuotes) {
  const auto rows = parse_csv("a,b\r\n\n\"x, \"\"y\"\"\nz\",\n,\"\"\n7", "f.csv");
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_THAT(rows[0].fields, ElementsAre("a", "b"));
  EXPECT_THAT(rows[1].fields, ElementsAre("x, \"y\"\nz", ""));
  EXPECT_THAT(rows[2].fields, ElementsAre("", ""));
  EXPECT_THAT(rows[3].fields, ElementsAre("7"));
  EXPECT_EQ(rows[1].line, 3);
  EXPECT_EQ(rows[2].line, 5) << "a line end inside quotes counts";
  EXPECT_TRUE(parse_csv("", "f.csv").empty());
}

TEST(Csv, BadQuotesNameFileAndLine) {
  EXPECT_EQ(error_text<FormatError>([] { parse_csv("a,b\n\"c,d\n", "f.csv"); }),
            "[f.csv] line 2: got a quote that is not closed before the end of the file.");
  EXPECT_THAT(error_text<FormatError>([] { parse_csv("a\n\"b\nc\"d,e\n", "f.csv"); }),
              HasSubstr("[f.csv] line 3: got \"d,e\\n\" behind a closing quote"));
}

}  // namespace
}  // namespace scalebits
