// SPDX-License-Identifier: Apache-2.0
#include "scalebits/quantize/quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/format/scale.h"
#include "tests/quantize/groups.h"

namespace scalebits {
namespace {

using test::gaussian;
using test::slack_steps;

TEST(Quantizer, DecodesByTheFormula) {
  EXPECT_EQ(decode(3, {21 * 8, 7}, 3), 0.5F * (3 - 3.5F));
  EXPECT_EQ(decode(200, {23 * 8, 7}, 8), 2.0F * (200 - 7));
  EXPECT_EQ(decode(1, {1, 0}, 1), 1.125F * 0x1p-22F);
  EXPECT_EQ(decode(255, {255, 0}, 8), 960.0F * 255);
  EXPECT_EQ(decode(2, {}, 2), 0.0F);
}

TEST(Quantizer, DecodedProductIsExact) {
  Rng rng(1);
  for (int i = 0; i < 100000; ++i) {
    const int bits = 1 + static_cast<int>(rng.below(8));
    const GroupParams p = {static_cast<uint8_t>(rng.below(256)),
                           static_cast<uint8_t>(rng.below(1U << zero_bits(bits)))};
    const auto code = static_cast<uint8_t>(rng.below(1U << bits));
    const double exact =
        static_cast<double>(scale_value(p.scale)) * (code - p.zero * static_cast<double>(zero_unit(bits)));
    ASSERT_EQ(static_cast<double>(decode(code, p, bits)), exact);
  }
}

TEST(Quantizer, RoundsTiesToEvenAndClamps) {
  const GroupParams p = {22 * 8, 2};      // scale 1, zero 1
  EXPECT_EQ(round_code(0.5F, p, 3), 2);   // 1.5
  EXPECT_EQ(round_code(1.5F, p, 3), 2);   // 2.5
  EXPECT_EQ(round_code(2.5F, p, 3), 4);   // 3.5
  EXPECT_EQ(round_code(-0.5F, p, 3), 0);  // 0.5
  EXPECT_EQ(round_code(-9.0F, p, 3), 0);
  EXPECT_EQ(round_code(99.0F, p, 3), 7);
  EXPECT_EQ(round_code(3e38F, p, 8), 255);
  EXPECT_EQ(round_code(-3e38F, p, 8), 0);
  EXPECT_EQ(round_code(3e38F, {1, 0}, 8), 255);  // overflows to infinity on the way
  EXPECT_EQ(round_code(3e38F, {0, 6}, 4), 3);    // no scale: the zero point
}

/// No code decodes nearer to w than round_code's, up to the rounding of w * (1 / scale) + zero (slack_steps).
TEST(Quantizer, RoundCodeIsTheNearest) {
  Rng rng(2);
  for (int bits = 1; bits <= 8; ++bits) {
    for (int i = 0; i < 2000; ++i) {
      const GroupParams p = {static_cast<uint8_t>(60 + rng.below(150)),
                             static_cast<uint8_t>(rng.below(1U << zero_bits(bits)))};
      const double scale = scale_value(p.scale);
      const auto w = static_cast<float>(scale * (rng.uniform() * 1.5 - 0.75) * (1 << bits));
      const double got = std::abs(static_cast<double>(decode(round_code(w, p, bits), p, bits)) - w);
      for (int code = 0; code < (1 << bits); ++code) {
        const double other = std::abs(static_cast<double>(decode(static_cast<uint8_t>(code), p, bits)) - w);
        ASSERT_LE(got, other + 2 * slack_steps(bits) * scale) << bits << " " << w << " " << code;
      }
    }
  }
}

TEST(Quantizer, RowFunctionsEqualTheSingleOnes) {
  Rng rng(3);
  for (int bits = 1; bits <= 8; ++bits) {
    for (size_t n = 1; n <= 70; ++n) {
      std::vector<float> w = gaussian(n, rng);
      const GroupParams p = group_quantizer("rtn").fit(w, {}, bits);
      std::vector<uint8_t> codes(n);
      std::vector<float> out(n);
      quantize_row(w, p, bits, codes);
      fake_quantize_row(w, p, bits, out.data());
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(codes[i], round_code(w[i], p, bits));
        ASSERT_EQ(out[i], decode(codes[i], p, bits));
      }
      fake_quantize_row(w, p, bits, w.data());  // in place
      ASSERT_EQ(w, out);
    }
  }
}

TEST(Quantizer, NamesAreFoundAndOthersListThem) {
  EXPECT_THAT(group_quantizer_names(), ::testing::ElementsAre("rtn", "clip"));
  for (const auto name : group_quantizer_names()) EXPECT_EQ(group_quantizer(name).name(), name);
  try {
    group_quantizer("best");
    FAIL();
  } catch (const InvalidArgument& e) {
    EXPECT_STREQ(e.what(), "[quantizer] name: got 'best', expected one of rtn, clip, gptq");
  }
}

/// Any finite input gives parameters that fit the format, and finite weights.
TEST(Quantizer, ExtremeGroupsStayFinite) {
  const float huge = 3.4e38F;
  const float tiny = 1e-45F;
  const std::vector<std::vector<float>> groups = {{0},
                                                  {-0.0F},
                                                  {1},
                                                  {-1},
                                                  {huge},
                                                  {-huge},
                                                  {huge, -huge},
                                                  {tiny},
                                                  {-tiny, tiny},
                                                  {huge, tiny},
                                                  {1e-38F, 2e-38F},
                                                  {65504 * 255.0F},
                                                  {1e15F, 0, -1e15F},
                                                  {1e16F, 1},
                                                  {6e-8F, -3e-8F},
                                                  {1e-6F, 2e-6F, 3e-6F},
                                                  {5, 5.0001F, 5.0002F},
                                                  std::vector<float>(128, 0),
                                                  std::vector<float>(128, 7),
                                                  std::vector<float>(128, -7),
                                                  std::vector<float>(2000, huge),
                                                  std::vector<float>(33, 1e-41F)};
  for (const auto name : group_quantizer_names()) {
    for (const auto& w : groups) {
      for (const float k : {0.0F, 1e-45F, 1e-30F, 1.0F, huge}) {
        const std::vector<float> importance(w.size(), k);
        for (int bits = 1; bits <= 8; ++bits) {
          const GroupParams p = group_quantizer(name).fit(w, importance, bits);
          ASSERT_EQ(p.zero >> zero_bits(bits), 0) << name << " " << w[0] << " " << bits;
          std::vector<float> out(w.size());
          fake_quantize_row(w, p, bits, out.data());
          for (const float v : out) ASSERT_TRUE(std::isfinite(v));
        }
      }
    }
  }
}

TEST(Quantizer, ZeroGroupsAreExactAndConstantOnesNear) {
  for (const auto name : group_quantizer_names()) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (const float value : {0.0F, 1.0F, -1.0F, 0.3F, -0.3F, 934.5F, -0.03F}) {
        const std::vector<float> w(128, value);
        const GroupParams p = group_quantizer(name).fit(w, {}, bits);
        const float got = decode(round_code(value, p, bits), p, bits);
        // A scale is off by 1/16 at most when nearest, by 1/8 when rounded up.
        EXPECT_LE(std::abs(got - value), std::abs(value) * 0x1p-3F)
            << name << " " << bits << " " << value << " " << got;
      }
    }
  }
}

}  // namespace
}  // namespace scalebits
