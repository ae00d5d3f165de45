// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/products.h"

#include <gtest/gtest.h>

#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "tests/kernels/expect_product.h"

namespace scalebits {
namespace {

using test::expect_product;
using test::kLarge;
using test::kSmall;
using test::random_floats;
using test::random_packed;
using test::RandomPacked;

TEST(Products, AreWithinTheBound) {
  for (const int64_t n_tokens : {1, 2, 7, 8}) {
    const RandomPacked w = random_packed(300, 217, kLarge, 0, 4);
    const std::vector<float> x = random_floats(n_tokens * 217, 6);
    std::vector<float> y(static_cast<size_t>(n_tokens * 300), 77.0F);
    gemv_packed(w.matrix.view(), w.panels, x, n_tokens, y);
    expect_product(w, x, n_tokens, y, 2);
  }
}

TEST(Products, DecodePackedGivesTheWholeMatrix) {
  const RandomPacked w = random_packed(300, 217, kLarge, 0, 4);
  std::vector<float> out(300 * 217);
  decode_packed(w.matrix.view(), w.panels, out);
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(static_cast<double>(out[i]), w.weights[i]) << i;
}

void int8_packed(const RandomPacked& w, std::span<const float> x, int64_t n_tokens, std::span<float> y,
                 const PackedOrder& order = {}) {
  Int8Activations rounded;
  rounded.assign(x, n_tokens, w.grid.spec().group_size, order.cols);
  const PackedView view = w.matrix.view();
  const std::vector<Int8Product> products = {{&view, &w.panels, &rounded, y, order.rows}};
  multiply_int8(products);
}

/// Some order of 0..n-1 that is not the identity, nor its own inverse.
std::vector<int32_t> some_order(int64_t n, uint64_t seed) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  Rng rng(seed);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  return order;
}

TEST(Products, AnOrderOfItsOwnIsThatOfTheActivationsAndResultsBitForBit) {
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
          int8_packed(w, x, n_tokens, got, order);
          int8_packed(w, input, n_tokens, stored);
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

TEST(Products, DecodePackedPutsEveryWeightAtItsOwnRowAndColumn) {
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

TEST(Products, ResultsDoNotDependOnThreadsOrTokens) {
  // 32 KB are worth a task; this has 12 times that.
  const RandomPacked w = random_packed(1200, 640, kLarge, 0, 8);
  ASSERT_GT(w.matrix.total_bytes(), 12 * 32768);
  const std::vector<float> x = random_floats(8 * 640, 6);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    std::vector<float> y(8 * 1200);
    gemv_packed(w.matrix.view(), w.panels, x, 8, y);
    std::vector<float> one(1200);
    for (size_t t = 0; t < 8; ++t) {
      gemv_packed(w.matrix.view(), w.panels, std::span(x).subspan(t * 640, 640), 1, one);
      EXPECT_TRUE(std::equal(one.begin(), one.end(), y.begin() + static_cast<int64_t>(t) * 1200)) << t;
    }
    results.push_back(y);
    std::vector<float> z(8 * 1200);
    int8_packed(w, x, 8, z);
    results.push_back(z);
  }
  set_num_threads(0);
  for (size_t i = 2; i < results.size(); ++i) EXPECT_EQ(results[i], results[i - 2]);
}

TEST(Products, SeveralTogetherAreWhatEachIsAlone) {
  const RandomPacked a = random_packed(1500, 96, kSmall, 0, 4), b = random_packed(5, 96, kSmall, 3, 5);
  const RandomPacked c = random_packed(1024, 96, kLarge, 8, 6);
  ASSERT_GT(a.matrix.total_bytes() + c.matrix.total_bytes(), 4 * 32768);  // several tasks
  for (const int64_t n_tokens : {1, 11}) {
    const std::vector<float> x = random_floats(n_tokens * 96, 6);
    Int8Activations fine, coarse;
    fine.assign(x, n_tokens, kSmall.group_size, {});
    coarse.assign(x, n_tokens, kLarge.group_size, {});
    std::vector<PackedView> views;
    std::vector<std::vector<float>> alone, together;
    for (const RandomPacked* w : {&a, &b, &c}) {
      views.push_back(w->matrix.view());
      alone.emplace_back(static_cast<size_t>(n_tokens * w->grid.out_features()));
      int8_packed(*w, x, n_tokens, alone.back());
      together.emplace_back(alone.back().size(), 77.0F);
    }
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      const std::vector<Int8Product> products = {{&views[0], &a.panels, &fine, together[0], {}},
                                                 {&views[1], &b.panels, &fine, together[1], {}},
                                                 {&views[2], &c.panels, &coarse, together[2], {}}};
      multiply_int8(products);
      EXPECT_EQ(together, alone);
    }
    set_num_threads(0);
  }
}

TEST(Products, WrongSizesAreRefused) {
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
