// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "scalebits/base/rng.h"

namespace scalebits {
namespace {

/// Rounding as IEEE 754 defines it, in double: nearest multiple of the format's step at this magnitude, ties to even.
double rounded(double value, int mantissa_bits, int least_exponent, double overflow) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), least_exponent);
  const double step = std::ldexp(1.0, exponent - mantissa_bits);
  const double nearest = std::nearbyint(value / step) * step;
  return std::abs(nearest) >= overflow ? std::copysign(std::numeric_limits<double>::infinity(), value) : nearest;
}
double rounded_f16(double value) { return rounded(value, 10, -14, 65536.0); }
double rounded_bf16(double value) { return rounded(value, 7, -126, 0x1p128); }

TEST(Half, EveryF16RoundTrips) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = f16_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(value)))) << bits;
    } else {
      ASSERT_EQ(float_to_f16(value), bits);
    }
  }
}

TEST(Half, EveryF16HasItsDefinedValue) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = static_cast<int>(bits >> 10) & 31;
    const double mantissa = bits & 1023;
    double expected = exponent == 0 ? mantissa * 0x1p-24 : std::ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) expected = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::nan("");
    if ((bits & 0x8000U) != 0) expected = -expected;
    const double got = f16_to_float(static_cast<uint16_t>(bits));
    ASSERT_TRUE(std::isnan(expected) ? std::isnan(got) : got == expected) << bits << ": " << got << " " << expected;
    if (!std::isnan(got)) {
      ASSERT_EQ(std::signbit(got), (bits & 0x8000U) != 0) << bits;
    }
  }
}

TEST(Half, RoundsToNearestEvenAtEveryMidpointAndBesideIt) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const double low = f16_to_float(static_cast<uint16_t>(bits));
    const double high = bits == 0x7bff ? 65536.0 : f16_to_float(static_cast<uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact: 12 significant bits
    for (const float value : {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, 1e9F)}) {
      ASSERT_EQ(static_cast<double>(f16_to_float(float_to_f16(value))), rounded_f16(value)) << value;
      ASSERT_EQ(static_cast<double>(f16_to_float(float_to_f16(-value))), rounded_f16(-value)) << -value;
    }
  }
}

TEST(Half, RoundsRandomFloatsOfEveryMagnitude) {
  Rng rng(1);
  for (int i = 0; i < 2'000'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(rng.next()));
    const float f16 = f16_to_float(float_to_f16(value));
    const float bf16 = bf16_to_float(float_to_bf16(value));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(f16) && std::isnan(bf16));
    } else {
      ASSERT_EQ(static_cast<double>(f16), rounded_f16(value)) << value;
      ASSERT_EQ(static_cast<double>(bf16), rounded_bf16(value)) << value;
    }
  }
}

TEST(Half, EveryBf16RoundTrips) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = bf16_to_float(static_cast<uint16_t>(bits));
    if (!std::isnan(value)) {
      ASSERT_EQ(float_to_bf16(value), bits);
    }
  }
}

}  // namespace
}  // namespace scalebits
