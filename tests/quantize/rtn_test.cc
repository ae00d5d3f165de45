// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/quantize/groups.h"

namespace scalebits {
namespace {

using test::gaussian;
using test::slack_steps;

/// The field of scale 1: 22 octaves above 2^-22. Eight fields are an octave.
constexpr uint8_t kOne = 22 * 8;

const GroupQuantizer& rtn() { return group_quantizer("rtn"); }

/// The scale is rounded up, so 2^bits - 1 steps cover the range, and rounding the zero to a whole step moves the
/// range's ends by at most half a step past the outer codes. Every weight is then within half a step, but for the
/// rounding of range / top (2 more units of 2^-24 of 2^bits steps) and slack_steps.
TEST(Rtn, ErrorIsAtMostHalfAStep) {
  Rng rng(1);
  for (int bits = 2; bits <= 8; ++bits) {
    for (int i = 0; i < 500; ++i) {
      std::vector<float> w = gaussian(1 + rng.below(200), rng);
      const auto shift = static_cast<float>(4 * rng.uniform() - 2);
      const auto size = static_cast<float>(std::exp2(20 * rng.uniform() - 12));
      for (auto& v : w) v = (v + shift) * size;
      const GroupParams p = rtn().fit(w, {}, bits);
      const double scale = scale_value(p.scale);
      const double limit = scale * (0.5 + slack_steps(bits) + 4 * std::exp2(bits) * 0x1p-24);
      for (const float v : w) {
        ASSERT_LE(std::abs(static_cast<double>(decode(round_code(v, p, bits), p, bits)) - v), limit)
            << bits << " " << v;
      }
    }
  }
}

TEST(Rtn, StepIsTheRangeDividedByTheCodes) {
  Rng rng(2);
  for (int bits = 2; bits <= 8; ++bits) {
    const std::vector<float> w = gaussian(128, rng);
    const double range =
        static_cast<double>(*std::max_element(w.begin(), w.end())) - *std::min_element(w.begin(), w.end());
    const double exact = range / ((1 << bits) - 1);
    const double scale = scale_value(rtn().fit(w, {}, bits).scale);
    EXPECT_GE(scale, exact * (1 - 0x1p-22));
    EXPECT_LE(scale, exact * (1 + 0x1p-3) * (1 + 0x1p-22));  // the next scale above
  }
}

TEST(Rtn, GroupsByHand) {
  // [-1, 2] at 2 bits: scale 1, zero 1 (field 2).
  EXPECT_EQ(rtn().fit(std::vector<float>{-1, 0.2F, 2}, {}, 2), (GroupParams{kOne, 2}));
  // All positive: the range reaches down to 0. 3 / 3 = 1.
  EXPECT_EQ(rtn().fit(std::vector<float>{2, 3}, {}, 2), (GroupParams{kOne, 0}));
  // All negative: the range reaches up to 0.
  EXPECT_EQ(rtn().fit(std::vector<float>{-2, -3}, {}, 2), (GroupParams{kOne, 6}));
  // 8 bits, whole-step zeros: [-55, 200] / 255.
  EXPECT_EQ(rtn().fit(std::vector<float>{-55, 200}, {}, 8), (GroupParams{kOne, 55}));
  // 1 bit: mean 0, mean absolute deviation 2: codes at -2 and 2.
  EXPECT_EQ(rtn().fit(std::vector<float>{-3, -1, 1, 3}, {}, 1), (GroupParams{kOne + 16, 1}));
  // 1 bit: mean 2, deviation 1: 0.5 - 2 / 2 = -0.5 is off the field, so mean dominates only from 2 deviations on.
  EXPECT_EQ(rtn().fit(std::vector<float>{1, 3}, {}, 1), (GroupParams{kOne + 8, 0}));
  // 1 bit, mean beyond both codes: one code is the mean, the other 0.
  EXPECT_EQ(rtn().fit(std::vector<float>{-4, -4}, {}, 1), (GroupParams{kOne + 16, 2}));
}

TEST(Rtn, ZeroIsAlwaysACode) {
  Rng rng(3);
  for (int bits = 2; bits <= 8; ++bits) {
    for (int i = 0; i < 200; ++i) {
      std::vector<float> w = gaussian(16, rng);
      for (auto& v : w) v += static_cast<float>(i % 7 - 3);
      const GroupParams p = rtn().fit(w, {}, bits);
      EXPECT_EQ(decode(round_code(0, p, bits), p, bits), 0);
    }
  }
}

}  // namespace
}  // namespace scalebits
