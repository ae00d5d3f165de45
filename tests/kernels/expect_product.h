// SPDX-License-Identifier: Apache-2.0
/// Products of random packed matrices against exact arithmetic.
#pragma once

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/random_packed.h"

namespace scalebits::test {

/// gamma(n) of kernels.h in units of sum |x w|, with 2^-40 more for the double reference's own rounding.
inline double bound(int64_t n) {
  const double nu = static_cast<double>(n) * 0x1p-24;
  return nu / (1 - nu) + 0x1p-40;
}

/// `extra`: further roundings of the order of summation.
inline void expect_product(const RandomPacked& w, const std::vector<float>& x, int64_t n_tokens,
                           const std::vector<float>& y, int64_t extra) {
  const int64_t rows = w.grid.out_features();
  const int64_t cols = w.grid.in_features();
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      double size = 0;
      for (int64_t c = 0; c < cols; ++c) {
        const double product = w.weights[static_cast<size_t>(r * cols + c)] * x[static_cast<size_t>(t * cols + c)];
        sum += product;
        size += std::abs(product);
      }
      const double got = y[static_cast<size_t>(t * rows + r)];
      ASSERT_LE(std::abs(got - sum), bound(cols + extra) * size)
          << rows << " x " << cols << " token " << t << " row " << r << ": " << got << ", expected " << sum;
    }
  }
}

inline constexpr BlockSpec kSmall = {.rows = 16, .cols = 24, .group_size = 8};
inline constexpr BlockSpec kLarge = {.rows = 128, .cols = 128, .group_size = 64};

}  // namespace scalebits::test
