// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "scalebits/base/rng.h"

namespace scalebits {
namespace {

TEST(Scale, IsTheFormulaOfTheFormat) {
  EXPECT_EQ(scale_value(0), 0);
  for (int field = 1; field < 256; ++field) {
    ASSERT_EQ(scale_value(static_cast<uint8_t>(field)), std::ldexp(1 + field % 8 / 8.0, field / 8 - 22)) << field;
  }
}

/// By trying all of them. Two are as near only halfway between neighbours, where the upper one is taken.
TEST(Scale, NearestIsTheNearest) {
  Rng rng(1);
  for (int i = 0; i < 20000; ++i) {
    const auto value = static_cast<float>(std::exp2(40 * rng.uniform() - 26));  // beyond both ends
    int best = 1;
    for (int field = 1; field < 256; ++field) {
      const double distance = std::abs(static_cast<double>(scale_value(static_cast<uint8_t>(field))) - value);
      if (distance <= std::abs(static_cast<double>(scale_value(static_cast<uint8_t>(best))) - value)) best = field;
    }
    ASSERT_EQ(nearest_scale(value), best) << value;
  }
  for (int field = 1; field < 255; ++field) {
    const float low = scale_value(static_cast<uint8_t>(field)), high = scale_value(static_cast<uint8_t>(field + 1));
    ASSERT_EQ(nearest_scale(low), field);
    ASSERT_EQ(nearest_scale((low + high) / 2), field + 1);
  }
}

TEST(Scale, AtLeastIsTheFirstNotBelow) {
  Rng rng(2);
  for (int i = 0; i < 20000; ++i) {
    const auto value = static_cast<float>(std::exp2(40 * rng.uniform() - 26));
    int first = 1;
    while (first < 255 && scale_value(static_cast<uint8_t>(first)) < value) ++first;
    ASSERT_EQ(scale_at_least(value), first) << value;
  }
}

TEST(Scale, ValuesWithoutANearestOneGiveTheEnds) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(nearest_scale(0), 1);
  EXPECT_EQ(nearest_scale(-1), 1);
  EXPECT_EQ(nearest_scale(std::nanf("")), 1);
  EXPECT_EQ(nearest_scale(infinity), 255);
  EXPECT_EQ(scale_at_least(infinity), 255);
}

}  // namespace
}  // namespace scalebits
