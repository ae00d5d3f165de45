// SPDX-License-Identifier: Apache-2.0
// The kernels that are not about packed weights; attention has a file of its own.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "scalebits/base/half.h"
#include "scalebits/kernels/products.h"
#include "tests/kernels/expect_product.h"
#include "tests/kernels/guarded_bytes.h"

namespace scalebits {
namespace {

using test::bound;
using test::GuardedBytes;
using test::random_floats;

class ElementwiseKernels : public ::testing::TestWithParam<std::string_view> {
 protected:
  const KernelTable& table() { return select_kernels(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Isa, ElementwiseKernels, ::testing::ValuesIn(available_kernels()),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(ElementwiseKernels, DenseProductIsWithinTheBound) {
  for (const int64_t cols : {1, 15, 16, 17, 100, 256}) {
    for (int32_t n_tokens = 1; n_tokens <= kMaxGemvTokens; ++n_tokens) {
      const int64_t rows = 7;
      std::vector<uint16_t> bits(static_cast<size_t>(rows * cols));
      const std::vector<float> w = random_floats(rows * cols, 4), x = random_floats(n_tokens * cols, 5);
      std::transform(w.begin(), w.end(), bits.begin(), float_to_bf16);
      std::vector<float> y(static_cast<size_t>(n_tokens * (rows + 1)), 77.0F);
      const GuardedBytes weights({reinterpret_cast<const uint8_t*>(bits.data()), bits.size() * 2});
      table().gemv_bf16(reinterpret_cast<const uint16_t*>(weights.begin()), rows, cols, x.data(), n_tokens, y.data(),
                        rows + 1);
      for (int64_t t = 0; t < n_tokens; ++t) {
        for (int64_t r = 0; r < rows; ++r) {
          double sum = 0, size = 0;
          for (int64_t c = 0; c < cols; ++c) {
            const double product = static_cast<double>(bf16_to_float(bits[static_cast<size_t>(r * cols + c)])) *
                                   x[static_cast<size_t>(t * cols + c)];
            sum += product;
            size += std::abs(product);
          }
          ASSERT_NEAR(y[static_cast<size_t>(t * (rows + 1) + r)], sum, bound(cols) * size) << cols << " " << n_tokens;
        }
        EXPECT_EQ(y[static_cast<size_t>(t * (rows + 1) + rows)], 77.0F);
      }
    }
  }
}

TEST_P(ElementwiseKernels, ReadAddsAllWords) {
  std::vector<uint64_t> words(128);
  std::iota(words.begin(), words.end(), uint64_t{1} << 60);
  const uint64_t sum = std::accumulate(words.begin(), words.end(), uint64_t{0});
  EXPECT_EQ(table().read(reinterpret_cast<const uint8_t*>(words.data()), 1024), sum);
}

TEST_P(ElementwiseKernels, RoundGroupsToTheSameIntegers) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const KernelTable& reference = select_kernels("reference");
  for (const int64_t n : {4, 8, 20, 64, 128, 1028}) {
    for (const float special : {0.0F, 1e-39F, 3.0F, inf, -inf, nan}) {
      for (const float size : {1.0F, 1e-30F, 1e30F}) {
        std::vector<float> x = random_floats(n, 5);
        for (float& v : x) v *= size;
        x[static_cast<size_t>(n - 1)] = special;
        std::vector<int8_t> expected(static_cast<size_t>(n)), got(static_cast<size_t>(n + 1), 77);
        std::vector<int8_t> expected_rest = expected, rest = got;
        std::array<float, 2> expected_sums{}, sums{};
        const float expected_scale =
            reference.quantize_group(x.data(), n, expected.data(), expected_rest.data(), expected_sums.data());
        const float scale = table().quantize_group(x.data(), n, got.data(), rest.data(), sums.data());
        ASSERT_TRUE(std::equal(expected.begin(), expected.end(), got.begin())) << n << " " << special << " " << size;
        ASSERT_TRUE(std::equal(expected_rest.begin(), expected_rest.end(), rest.begin())) << n << " " << special;
        EXPECT_EQ(got.back(), 77);
        EXPECT_EQ(rest.back(), 77);
        EXPECT_EQ(sums, expected_sums);
        EXPECT_EQ(std::isnan(scale), std::isnan(expected_scale));
        if (!std::isnan(scale)) {
          EXPECT_EQ(scale, expected_scale);
        }
      }
    }
  }
}

/// As below, and what the roundings of the exponent 2 z, eight of them, do to e^-2z.
TEST_P(ElementwiseKernels, GegluIsAsExactAsItsOperations) {
  for (const int64_t n : {1, 7, 8, 16, 33, 100}) {
    std::vector<float> gate = random_floats(n, 5);
    for (int64_t i = 0; i < n; ++i) gate[static_cast<size_t>(i)] *= i % 3 == 0 ? 10.0F : 4.0F;
    const std::array<float, 4> extreme = {-1e30F, -90.0F, 90.0F, 1e30F};
    for (size_t i = 0; i < extreme.size() && 3 * i < gate.size(); ++i) gate[3 * i] = extreme[i];
    const std::vector<float> up = random_floats(n, 6), before = gate;
    gate.push_back(77);
    table().geglu(gate.data(), up.data(), n);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      const double g = before[i], z = std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
      const double expected = g / (1 + std::exp(-2 * z)) * up[i];
      const double roundings = 8 + 8 * std::min(std::abs(2 * z), 100.0);
      EXPECT_NEAR(gate[i], expected, roundings * 0x1p-24 * std::abs(expected) + 1e-35) << g;
    }
    EXPECT_EQ(gate.back(), 77);
  }
}

/// Two ulps of the exponential, one each of four operations, in units of the result.
TEST_P(ElementwiseKernels, SwigluIsAsExactAsItsOperations) {
  for (const int64_t n : {1, 7, 8, 16, 33, 100}) {
    std::vector<float> gate = random_floats(n, 5);
    for (int64_t i = 0; i < n; ++i) gate[static_cast<size_t>(i)] *= i % 3 == 0 ? 100.0F : 4.0F;
    const std::array<float, 5> extreme = {-1e30F, -90.0F, -86.0F, 90.0F, 1e30F};
    for (size_t i = 0; i < extreme.size() && 3 * i < gate.size(); ++i) gate[3 * i] = extreme[i];
    const std::vector<float> up = random_floats(n, 6), before = gate;
    gate.push_back(77);
    table().swiglu(gate.data(), up.data(), n);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      const double g = before[i], expected = g / (1 + std::exp(-g)) * up[i];
      EXPECT_NEAR(gate[i], expected, 8 * 0x1p-24 * std::abs(expected) + 1e-35) << g;
    }
    EXPECT_EQ(gate.back(), 77);
  }
}

}  // namespace
}  // namespace scalebits
