// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/int8_activations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/random_packed.h"

namespace scalebits {
namespace {

using test::random_floats;

/// Token t's value and scale for column c of n.
struct Read {
  const Int8Activations& x;
  [[nodiscard]] const Int8Tokens& set(int64_t t) const { return x.sets()[static_cast<size_t>(t / kMaxGemvTokens)]; }
  [[nodiscard]] int value(int64_t t, int64_t c, int part = 0) const {
    const Int8Tokens& s = set(t);
    return s.parts[part].values[(c / 4 * s.n_tokens + t % kMaxGemvTokens) * 4 + c % 4];
  }
  [[nodiscard]] float scale(int64_t t, int64_t g, int part = 0) const {
    return set(t).parts[part].scales[g * set(t).n_tokens + t % kMaxGemvTokens];
  }
  [[nodiscard]] float sum(int64_t t, int64_t g, int part = 0) const {
    return set(t).parts[part].sums[g * set(t).n_tokens + t % kMaxGemvTokens];
  }
};

TEST(Int8Activations, AreTheNearestStepsOfAGroupsGreatest) {
  const int64_t n_tokens = 11, n = 70;
  const std::vector<float> x = random_floats(n_tokens * n, 3);
  Int8Activations rounded;
  rounded.assign(x, n_tokens, 24, {});
  const Read read{rounded};
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t g = 0; g < 3; ++g) {
      float most = 0;
      for (int64_t c = g * 24; c < std::min<int64_t>(n, g * 24 + 24); ++c) {
        most = std::max(most, std::abs(x[static_cast<size_t>(t * n + c)]));
      }
      EXPECT_EQ(read.scale(t, g), most / 127);
      EXPECT_EQ(read.scale(t, g, 1), most / 127 / 254);
      int sum = 0, rest = 0, greatest = 0;
      for (int64_t c = g * 24; c < std::min<int64_t>(n, g * 24 + 24); ++c) {
        const float exact = x[static_cast<size_t>(t * n + c)] / (most / 127);
        EXPECT_NEAR(static_cast<float>(read.value(t, c)), exact, 0.5F + 1e-4F);
        // Half a step of the second part, and the roundings of x * (127 / m) in f32.
        EXPECT_NEAR(static_cast<float>(read.value(t, c)) + static_cast<float>(read.value(t, c, 1)) / 254, exact,
                    0.5F / 254 + 4e-5F);
        sum += read.value(t, c);
        rest += read.value(t, c, 1);
        greatest = std::max(greatest, std::abs(read.value(t, c)));
      }
      EXPECT_EQ(greatest, 127);
      EXPECT_EQ(read.sum(t, g), static_cast<float>(sum));
      EXPECT_EQ(read.sum(t, g, 1), static_cast<float>(rest));
    }
    for (int64_t c = n; c < 72; ++c) EXPECT_EQ(read.value(t, c), 0);
  }
}

TEST(Int8Activations, ByHand) {
  // Greatest 254, so a step is 2; 1, 3 and 5 lie between two steps and go to the even one.
  Int8Activations rounded;
  rounded.assign(std::vector<float>{254, -254, 1, 3, 5, 100.9F}, 1, 8, {});
  const Read read{rounded};
  const std::vector<int> expected = {127, -127, 0, 2, 2, 50};
  for (int64_t c = 0; c < 6; ++c) EXPECT_EQ(read.value(0, c), expected[static_cast<size_t>(c)]) << c;
  // 1 is 0 * 2 + 127 * 2 / 254; 3 is 2 * 2 - 127 * 2 / 254; 100.9 is 50 * 2 + 0.9, and 0.9 * 127 = 114.3.
  const std::vector<int> expected_rest = {0, 0, 127, -127, 127, 114};
  for (int64_t c = 0; c < 6; ++c) EXPECT_EQ(read.value(0, c, 1), expected_rest[static_cast<size_t>(c)]) << c;
  EXPECT_EQ(read.scale(0, 0), 2.0F);
  EXPECT_EQ(read.sum(0, 0), 54.0F);
}

TEST(Int8Activations, GatherColumns) {
  Int8Activations rounded;
  rounded.assign(std::vector<float>{1, 2, 4, 127}, 1, 4, std::vector<int32_t>{3, 0, 2, 1});
  const Read read{rounded};
  EXPECT_EQ((std::vector<int>{read.value(0, 0), read.value(0, 1), read.value(0, 2), read.value(0, 3)}),
            (std::vector<int>{127, 1, 4, 2}));
}

TEST(Int8Activations, ZeroesAndTinyValuesAreZero) {
  Int8Activations rounded;
  rounded.assign(std::vector<float>{0, 0, 0, 0, 1e-38F, -1e-40F, 0, 0}, 1, 4, {});
  const Read read{rounded};
  for (int64_t c = 0; c < 8; ++c) EXPECT_EQ(read.value(0, c), 0);
  EXPECT_EQ(read.scale(0, 0), 0.0F);
}

TEST(Int8Activations, WhatIsNotFiniteMakesItsGroupNaN) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    Int8Activations rounded;
    rounded.assign(std::vector<float>{1, 2, bad, 4, 1, 1, 1, 127}, 1, 4, {});
    const Read read{rounded};
    EXPECT_TRUE(std::isnan(read.scale(0, 0)));
    EXPECT_EQ(read.scale(0, 1), 1.0F);
  }
}

TEST(Int8Activations, ApplyTheNormFirst) {
  // Mean square 25 / 2, weights 2 and 1: 3 * 2 and 4 over sqrt(12.5).
  Int8Activations rounded;
  const std::vector<float> weight = {2, 1};
  rounded.assign(std::vector<float>{3, 4}, 1, 4, {}, {.weight = weight, .eps = 0});
  const Read read{rounded};
  EXPECT_EQ(read.value(0, 0), 127);
  EXPECT_EQ(read.value(0, 1), 85);  // 127 * 4 / 6 = 84.67
  EXPECT_NEAR(read.scale(0, 0), 6 / std::sqrt(12.5F) / 127, 1e-8F);
}

}  // namespace
}  // namespace scalebits
