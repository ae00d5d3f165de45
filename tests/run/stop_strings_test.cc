// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/stop_strings.h"

#include <gtest/gtest.h>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

TEST(StopStrings, HoldBackOnlyWhatMayBecomeOne) {
  StopStrings stop({"END"});
  EXPECT_EQ(stop.push("abcE"), "abc");
  EXPECT_EQ(stop.push("N"), "");
  EXPECT_EQ(stop.push("x"), "ENx");  // was none
  EXPECT_EQ(stop.push("yEN"), "y");
  EXPECT_EQ(stop.push("D more"), "");
  EXPECT_TRUE(stop.found());
  EXPECT_EQ(stop.push("later"), "");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopStrings, GiveBackWhatWasHeldAtTheEnd) {
  StopStrings stop({"END"});
  EXPECT_EQ(stop.push("text EN"), "text ");
  EXPECT_EQ(stop.finish(), "EN");
  EXPECT_FALSE(stop.found());
}

TEST(StopStrings, FindThemInsideOnePiece) {
  StopStrings stop({"zz", "b"});
  EXPECT_EQ(stop.push("aabbzz"), "aa");  // the one that comes first, not the first in the list
  EXPECT_TRUE(stop.found());
}

TEST(StopStrings, FindOneThatRestartsInsideItself) {
  StopStrings stop({"aab"});
  std::string text;
  for (const char c : std::string("xaaab")) text += stop.push({&c, 1});
  EXPECT_EQ(text, "xa");
  EXPECT_TRUE(stop.found());
}

TEST(StopStrings, GivenNoneNothingIsHeld) {
  StopStrings stop({});
  EXPECT_EQ(stop.push("abc"), "abc");
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopStrings, RefuseAnEmptyOne) { EXPECT_THROW(StopStrings({"a", ""}), InvalidArgument); }

}  // namespace
}  // namespace scalebits
