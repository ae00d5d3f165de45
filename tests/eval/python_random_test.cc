// SPDX-License-Identifier: Apache-2.0
// Expected numbers: CPython 3.11's random.Random.
#include "scalebits/eval/python_random.h"

#include <gmock/gmock.h>

namespace scalebits {
namespace {

using testing::ElementsAre;

TEST(PythonRandom, BitsAreCpythons) {
  PythonRandom random(1234);
  EXPECT_EQ(random.bits(32), 4150886329U);
  EXPECT_EQ(random.bits(32), 3342196574U);
  PythonRandom zero(0);
  for (int i = 0; i < 623; ++i) (void)zero.bits(32);
  EXPECT_EQ(zero.bits(32), 2390040247U);
  EXPECT_EQ(zero.bits(32), 2229104038U) << "behind the first refill of the state";
  for (int i = 625; i < 1299; ++i) (void)zero.bits(32);
  EXPECT_EQ(zero.bits(32), 613370405U);
}

TEST(PythonRandom, SamplesAreCpythonsByListAndBySet) {
  PythonRandom random(1234);
  EXPECT_THAT(random.sample(20, 3), ElementsAre(14, 3, 0));
  EXPECT_THAT(random.sample(285, 5), ElementsAre(46, 17, 42, 50, 181));
  EXPECT_THAT(random.sample(7473, 5), ElementsAre(1939, 142, 252, 6461, 129));
  EXPECT_THAT(random.sample(100, 7), ElementsAre(44, 82, 79, 61, 78, 59, 19));
  EXPECT_THAT(random.sample(30, 6), ElementsAre(2, 5, 22, 3, 0, 16));
  EXPECT_THAT(random.sample(7473, 12),
              ElementsAre(3987, 7212, 2046, 528, 5466, 4432, 3816, 561, 4927, 5530, 728, 4219));
}

}  // namespace
}  // namespace scalebits
