// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/kernels/dispatch.h"
#include "tests/kernels/random_packed.h"

namespace scalebits {
namespace {

using test::random_floats;
using test::random_packed;
using test::RandomPacked;

/// gamma(n) of kernels.h in units of sum |x w|, with 2^-40 more for the double reference's own rounding.
double bound(int64_t n) {
  const double nu = static_cast<double>(n) * 0x1p-24;
  return nu / (1 - nu) + 0x1p-40;
}

/// `extra`: further roundings of the order of summation.
void expect_product(const RandomPacked& w, const std::vector<float>& x, int64_t n_tokens, const std::vector<float>& y,
                    int64_t extra) {
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

constexpr BlockSpec kSmall = {.rows = 16, .cols = 24, .group_size = 8};
constexpr BlockSpec kLarge = {.rows = 128, .cols = 128, .group_size = 64};

/// Every table this machine runs; a faster one is tested as soon as it exists.
class Kernels : public ::testing::TestWithParam<std::string_view> {
 protected:
  const KernelTable& table() { return select_kernels(GetParam()); }

  void expect_gemv(const RandomPacked& w, int32_t n_tokens) {
    const int64_t rows = w.grid.out_features();
    const int64_t cols = w.grid.in_features();
    const std::vector<float> x = random_floats(n_tokens * cols, 5);
    // Strides above the sizes, poison between: reading or writing there shows.
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> x_strided(static_cast<size_t>(n_tokens * (cols + 3)), nan);
    for (int64_t t = 0; t < n_tokens; ++t)
      std::copy_n(&x[static_cast<size_t>(t * cols)], cols, &x_strided[static_cast<size_t>(t * (cols + 3))]);
    std::vector<float> y_strided(static_cast<size_t>(n_tokens * (rows + 2)), 77.0F);
    const PackedView view = w.matrix.view();
    const PackedPanels packed = packed_panels(view, w.panels);
    for (int64_t panel = 0; panel < w.grid.row_blocks(); ++panel) {
      table().gemv(packed, panel, x_strided.data(), cols + 3, n_tokens, y_strided.data(), rows + 2);
    }
    std::vector<float> y;
    for (int64_t t = 0; t < n_tokens; ++t) {
      const float* row = &y_strided[static_cast<size_t>(t * (rows + 2))];
      y.insert(y.end(), row, row + rows);
      EXPECT_EQ(row[rows], 77.0F);
      EXPECT_EQ(row[rows + 1], 77.0F);
    }
    expect_product(w, x, n_tokens, y, 0);
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, Kernels, ::testing::ValuesIn(available_kernels()),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(Kernels, GemvIsWithinTheBoundAtEveryWidth) {
  for (int bits = 1; bits <= 8; ++bits) {
    expect_gemv(random_packed(40, 100, kSmall, bits, static_cast<uint64_t>(bits)), 1);
    expect_gemv(random_packed(200, 300, kLarge, bits, static_cast<uint64_t>(bits)), 1);
  }
}

TEST_P(Kernels, GemvIsWithinTheBoundOnRaggedShapesOfMixedWidths) {
  for (int64_t rows = 1; rows <= 33; rows += 4) {
    for (int64_t cols = 1; cols <= 50; ++cols) {
      expect_gemv(random_packed(rows, cols, kSmall, 0, static_cast<uint64_t>(rows * 64 + cols)), 1);
    }
  }
}

TEST_P(Kernels, GemvTakesUpToEightTokens) {
  for (int32_t n_tokens = 1; n_tokens <= kMaxGemvTokens; ++n_tokens) {
    expect_gemv(random_packed(50, 70, kSmall, 0, 9), n_tokens);
  }
}

TEST_P(Kernels, DecodePanelIsExact) {
  for (int bits = 0; bits <= 8; ++bits) {
    for (const BlockSpec spec : {kSmall, kLarge}) {
      const RandomPacked w = random_packed(150, 203, spec, bits, 3);
      const PackedView view = w.matrix.view();
      const PackedPanels packed = packed_panels(view, w.panels);
      std::vector<float> out(150 * 210, 77.0F);
      for (int64_t panel = 0; panel < w.grid.row_blocks(); ++panel) {
        table().decode_panel(packed, panel, &out[static_cast<size_t>(panel * spec.rows * 210)], 210);
      }
      for (size_t r = 0; r < 150; ++r) {
        for (size_t c = 0; c < 203; ++c) {
          ASSERT_EQ(static_cast<double>(out[r * 210 + c]), w.weights[r * 203 + c]) << bits << " " << r << " " << c;
        }
        for (size_t c = 203; c < 210; ++c) ASSERT_EQ(out[r * 210 + c], 77.0F);
      }
    }
  }
}

TEST(Dispatch, GemvAndGemmAreWithinTheirBounds) {
  for (const int64_t n_tokens : {1, 2, 7, 8, 9, 33}) {
    const RandomPacked w = random_packed(300, 217, kLarge, 0, 4);
    const std::vector<float> x = random_floats(n_tokens * 217, 6);
    std::vector<float> y(static_cast<size_t>(n_tokens * 300), 77.0F);
    gemm_packed(w.matrix.view(), w.panels, x, n_tokens, y);
    expect_product(w, x, n_tokens, y, 16);
    if (n_tokens > kMaxGemvTokens) continue;
    std::fill(y.begin(), y.end(), 77.0F);
    gemv_packed(w.matrix.view(), w.panels, x, n_tokens, y);
    expect_product(w, x, n_tokens, y, 0);
  }
}

TEST(Dispatch, DecodePackedGivesTheWholeMatrix) {
  const RandomPacked w = random_packed(300, 217, kLarge, 0, 4);
  std::vector<float> out(300 * 217);
  decode_packed(w.matrix.view(), w.panels, out);
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(static_cast<double>(out[i]), w.weights[i]) << i;
}

/// Some order of 0..n-1 that is not the identity, nor its own inverse.
std::vector<int32_t> some_order(int64_t n, uint64_t seed) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  Rng rng(seed);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  return order;
}

TEST(Dispatch, AnOrderOfItsOwnIsThatOfTheActivationsAndResultsBitForBit) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{300, 217}, {17, 5}, {1, 33}, {128, 128}, {49, 1}}) {
    const RandomPacked w = random_packed(rows, cols, kSmall, 0, 4);
    const std::vector<int32_t> row_order = some_order(rows, 1), col_order = some_order(cols, 2);
    for (const int64_t n_tokens : {1, 3, 8, 33}) {
      const std::vector<float> x = random_floats(n_tokens * cols, 6);
      std::vector<float> gathered(x.size());
      for (int64_t t = 0; t < n_tokens; ++t) {
        for (int64_t c = 0; c < cols; ++c) {
          gathered[static_cast<size_t>(t * cols + c)] =
              x[static_cast<size_t>(t * cols + col_order[static_cast<size_t>(c)])];
        }
      }
      for (const bool by_rows : {false, true}) {
        for (const bool by_cols : {false, true}) {
          const PackedOrder order{by_rows ? row_order : std::span<const int32_t>(),
                                  by_cols ? col_order : std::span<const int32_t>()};
          const auto expect_equal = [&](const std::vector<float>& got, const std::vector<float>& stored) {
            for (int64_t t = 0; t < n_tokens; ++t) {
              for (int64_t r = 0; r < rows; ++r) {
                const int64_t row = by_rows ? row_order[static_cast<size_t>(r)] : r;
                ASSERT_EQ(got[static_cast<size_t>(t * rows + row)], stored[static_cast<size_t>(t * rows + r)]);
              }
            }
          };
          const std::vector<float>& input = by_cols ? gathered : x;
          std::vector<float> got(static_cast<size_t>(n_tokens * rows), 77.0F), stored = got;
          gemm_packed(w.matrix.view(), w.panels, x, n_tokens, got, order);
          gemm_packed(w.matrix.view(), w.panels, input, n_tokens, stored);
          expect_equal(got, stored);
          if (n_tokens > kMaxGemvTokens) continue;
          std::fill(got.begin(), got.end(), 77.0F);
          gemv_packed(w.matrix.view(), w.panels, x, n_tokens, got, order);
          gemv_packed(w.matrix.view(), w.panels, input, n_tokens, stored);
          expect_equal(got, stored);
        }
      }
    }
  }
}

TEST(Dispatch, DecodePackedPutsEveryWeightAtItsOwnRowAndColumn) {
  const RandomPacked w = random_packed(300, 217, kLarge, 0, 4);
  const std::vector<int32_t> rows = some_order(300, 1), cols = some_order(217, 2);
  std::vector<float> out(300 * 217);
  const auto expect_at = [&](const PackedOrder& order) {
    std::fill(out.begin(), out.end(), 77.0F);
    decode_packed(w.matrix.view(), w.panels, out, order);
    for (size_t r = 0; r < 300; ++r) {
      for (size_t c = 0; c < 217; ++c) {
        const size_t row = order.rows.empty() ? r : static_cast<size_t>(rows[r]);
        const size_t col = order.cols.empty() ? c : static_cast<size_t>(cols[c]);
        ASSERT_EQ(static_cast<double>(out[row * 217 + col]), w.weights[r * 217 + c]) << r << " " << c;
      }
    }
  };
  expect_at({rows, cols});
  expect_at({rows, {}});
  expect_at({{}, cols});
}

TEST(Dispatch, ResultsDoNotDependOnThreadsOrTokens) {
  const RandomPacked w = random_packed(400, 96, kSmall, 0, 8);
  const std::vector<float> x = random_floats(8 * 96, 6);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    std::vector<float> y(8 * 400);
    gemv_packed(w.matrix.view(), w.panels, x, 8, y);
    std::vector<float> one(400);
    for (size_t t = 0; t < 8; ++t) {
      gemv_packed(w.matrix.view(), w.panels, std::span(x).subspan(t * 96, 96), 1, one);
      EXPECT_TRUE(std::equal(one.begin(), one.end(), y.begin() + static_cast<int64_t>(t) * 400)) << t;
    }
    results.push_back(y);
    std::vector<float> z(8 * 400);
    gemm_packed(w.matrix.view(), w.panels, x, 8, z);
    results.push_back(z);
  }
  set_num_threads(0);
  for (size_t i = 2; i < results.size(); ++i) EXPECT_EQ(results[i], results[i - 2]);
}

TEST(Dispatch, SplitsPanelsByBytesNotByRows) {
  // Panels of 80, 10, 5, 5 bytes: half of them lie in the first.
  const PanelOffsets heavy = {.codes = {0, 40, 45, 50, 50}, .scales = {0, 40, 45, 45, 50}, .zeros = {0, 0, 0, 0, 0}};
  EXPECT_EQ(split_panels(heavy, 2), (std::vector<int64_t>{0, 1, 4}));
  EXPECT_EQ(split_panels(heavy, 1), (std::vector<int64_t>{0, 4}));
  const PanelOffsets even = {
      .codes = {0, 1, 2, 3, 4, 5, 6}, .scales = {0, 0, 0, 0, 0, 0, 0}, .zeros = {0, 0, 0, 0, 0, 0, 0}};
  EXPECT_EQ(split_panels(even, 3), (std::vector<int64_t>{0, 2, 4, 6}));
  for (int64_t parts = 1; parts < 10; ++parts) {  // always a partition, even with more parts than panels
    const std::vector<int64_t> bounds = split_panels(even, parts);
    EXPECT_EQ(bounds.size(), static_cast<size_t>(parts) + 1);
    EXPECT_EQ(bounds.front(), 0);
    EXPECT_EQ(bounds.back(), 6);
    EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end()));
  }
}

TEST(Dispatch, AnUnknownInstructionSetIsAnErrorThatListsTheKnown) {
  EXPECT_EQ(select_kernels("").name, available_kernels().front());
  EXPECT_STREQ(select_kernels("reference").name, "reference");
  try {
    select_kernels("avx9000");
    FAIL();
  } catch (const DeviceError& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("[SCALEBITS_ISA] instruction set: got 'avx9000'"));
    EXPECT_THAT(e.what(), ::testing::HasSubstr("reference"));
  }
}

TEST(Dispatch, WrongSizesAreRefused) {
  const RandomPacked w = random_packed(16, 8, kSmall, 2, 1);
  std::vector<float> x(8 * 9);
  std::vector<float> y(16 * 9);
  const auto gemv = [&](size_t n_x, int64_t n_tokens, size_t n_y) {
    gemv_packed(w.matrix.view(), w.panels, std::span(x).first(n_x), n_tokens, std::span(y).first(n_y));
  };
  EXPECT_NO_THROW(gemv(8, 1, 16));
  EXPECT_THROW(gemv(7, 1, 16), InternalError);
  EXPECT_THROW(gemv(8, 1, 15), InternalError);
  EXPECT_THROW(gemv(0, 0, 0), InternalError);
  EXPECT_THROW(gemv(72, 9, 144), InternalError);
}

}  // namespace
}  // namespace scalebits
