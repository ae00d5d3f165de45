// SPDX-License-Identifier: Apache-2.0
// Attention against softmax in double. Keys and values are kept as f16, so the expected value begins with exact inputs.
//
// Tolerance, u = 2^-24, n keys, s_j the score of key j, s the greatest, p_j its probability:
//  - s_j is an f32 sum of head_dim products: off by at most gamma(head_dim) * sum_c |q_c k_jc| (Higham 2002,
//  section 3.1).
//    An error of a score is a relative one of p_j. The running maximum itself cancels: all keys are measured against
//    the same float.
//  - From s_j on, the weight of key j goes through one exponential and at most n fades. Their arguments are
//  differences,
//    each rounded once, that add up to s - s_j: (s - s_j) * u. Each exponential is within 4 u (two units in the last
//    place), each product within u: 5 * (n + 1) * u.
//  - A cap adds cap * 8 u to the error of a score: tanh is within 5 u, and its argument, which is rounded twice, has a
//    slope of at most 0.45 in units of itself; the product with the cap is rounded. The slope is at most 1 elsewhere.
//  - The sums over the keys: gamma(n + 4), a table may sum in lanes; the quotient: 3 u.
// So weight j is off by a relative d_j = all of these together, above and below the quotient, and the quotient by at
// most sum_j p_j d_j (|v_j| + |out|); 2 % more for the products of errors that this leaves out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "scalebits/base/half.h"
#include "scalebits/kernels/dispatch.h"
#include "tests/kernels/guarded_bytes.h"
#include "tests/kernels/random_packed.h"

namespace scalebits {
namespace {

using test::GuardedBytes;
using test::random_floats;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr uint16_t kHalfNaN = 0x7e00, kHalfInfinity = 0x7c00;

/// Rows, keys and values in plain order.
struct Case {
  int64_t d;
  std::vector<int64_t> n_keys;  ///< of each row
  std::vector<float> q;         ///< [rows, d]
  std::vector<uint16_t> k, v;   ///< f16 [keys, d]
  std::vector<int64_t> first_key = std::vector<int64_t>(n_keys.size(), 0);
  float cap = 0;

  [[nodiscard]] int64_t rows() const { return static_cast<int64_t>(n_keys.size()); }
  [[nodiscard]] int64_t keys() const { return *std::max_element(n_keys.begin(), n_keys.end()); }
  [[nodiscard]] double key(int64_t j, int64_t c) const { return f16_to_float(k[static_cast<size_t>(j * d + c)]); }
  [[nodiscard]] double value(int64_t j, int64_t c) const { return f16_to_float(v[static_cast<size_t>(j * d + c)]); }
};

/// Scores of both signs; with `range` > 0 they run from -range to range, upwards in even rows and downwards in odd
/// ones, so that the greatest so far is another with almost every key of the even rows.
Case random_case(int64_t d, const std::vector<int64_t>& n_keys, double range, uint64_t seed) {
  Case a{.d = d, .n_keys = n_keys, .q = {}, .k = {}, .v = {}};
  const int64_t rows = a.rows(), keys = a.keys();
  const std::vector<float> sign = random_floats(d, seed), noise_q = random_floats(rows * d, seed + 1);
  const std::vector<float> noise_k = random_floats(keys * d, seed + 2), values = random_floats(keys * d, seed + 3);
  const auto of = [&](int64_t c) { return sign[static_cast<size_t>(c)] < 0 ? -1.0 : 1.0; };
  for (int64_t i = 0; i < rows * d; ++i) {
    const double direction = of(i % d) * (i / d % 2 == 0 ? range : -range) / static_cast<double>(d);
    a.q.push_back(static_cast<float>(direction + noise_q[static_cast<size_t>(i)] / std::sqrt(static_cast<double>(d))));
  }
  for (int64_t i = 0; i < keys * d; ++i) {
    const double ramp = 2 * static_cast<double>(i / d) / static_cast<double>(keys) - 1;
    const double noise = noise_k[static_cast<size_t>(i)];
    a.k.push_back(float_to_f16(static_cast<float>(range > 0 ? of(i % d) * ramp + 0.1 * noise : 2 * noise)));
    a.v.push_back(float_to_f16(values[static_cast<size_t>(i)]));
  }
  return a;
}

/// Keys in tiles of kKeyTile, the last filled up with NaN.
std::vector<uint16_t> in_tiles(const Case& a) {
  std::vector<uint16_t> tiles(static_cast<size_t>((a.keys() + kKeyTile - 1) / kKeyTile * kKeyTile * a.d), kHalfNaN);
  for (int64_t j = 0; j < a.keys(); ++j) {
    for (int64_t c = 0; c < a.d; ++c) {
      tiles[static_cast<size_t>((j / kKeyTile * a.d + c) * kKeyTile + j % kKeyTile)] =
          a.k[static_cast<size_t>(j * a.d + c)];
    }
  }
  return tiles;
}

GuardedBytes guarded(const std::vector<uint16_t>& halves) {
  return GuardedBytes({reinterpret_cast<const uint8_t*>(halves.data()), halves.size() * 2});
}

class Attend : public ::testing::TestWithParam<std::string_view> {
 protected:
  static std::vector<float> attend(const Case& a) {
    const GuardedBytes k = guarded(in_tiles(a)), v = guarded(a.v);
    std::vector<float> out(a.q.size() + 1, 77.0F);  // what was there does not count, and what lies behind is left alone
    const AttentionRows rows{.q = a.q.data(),
                             .first_key = a.first_key.data(),
                             .n_keys = a.n_keys.data(),
                             .k = reinterpret_cast<const uint16_t*>(k.begin()),
                             .v = reinterpret_cast<const uint16_t*>(v.begin()),
                             .n_rows = static_cast<int32_t>(a.rows()),
                             .head_dim = static_cast<int32_t>(a.d),
                             .cap = a.cap};
    select_kernels(GetParam()).attend(rows, out.data());
    EXPECT_EQ(out.back(), 77.0F);
    out.pop_back();
    return out;
  }
  /// The row as if it were the only one, with no key or value that it does not see.
  static Case only_row(const Case& a, int64_t i) {
    const auto n = static_cast<ptrdiff_t>(a.n_keys[static_cast<size_t>(i)] * a.d);
    return {.d = a.d,
            .n_keys = {a.n_keys[static_cast<size_t>(i)]},
            .q = {a.q.begin() + i * a.d, a.q.begin() + (i + 1) * a.d},
            .k = {a.k.begin(), a.k.begin() + n},
            .v = {a.v.begin(), a.v.begin() + n},
            .first_key = {a.first_key[static_cast<size_t>(i)]},
            .cap = a.cap};
  }
  static bool same_bits(const std::vector<float>& all, int64_t i, const std::vector<float>& row) {
    return std::memcmp(all.data() + i * static_cast<int64_t>(row.size()), row.data(), row.size() * sizeof(float)) == 0;
  }
  static void expect_softmax(const Case& a, int64_t i, const float* out);
  static void expect_all(const Case& a) {
    const std::vector<float> out = attend(a);
    for (int64_t i = 0; i < a.rows(); ++i) ASSERT_NO_FATAL_FAILURE(expect_softmax(a, i, out.data() + i * a.d)) << i;
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, Attend, ::testing::ValuesIn(available_kernels()),
                         [](const auto& test) { return std::string(test.param); });

/// The tolerance is derived above.
void Attend::expect_softmax(const Case& a, int64_t i, const float* out) {
  constexpr double u = 0x1p-24;
  const int64_t from = a.first_key[static_cast<size_t>(i)], n = a.n_keys[static_cast<size_t>(i)] - from;
  const auto gamma = [](int64_t terms) {
    return static_cast<double>(terms) * u / (1 - static_cast<double>(terms) * u);
  };
  std::vector<double> score(static_cast<size_t>(n)), size(score);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t c = 0; c < a.d; ++c) {
      const double product = a.q[static_cast<size_t>(i * a.d + c)] * a.key(from + j, c);
      score[static_cast<size_t>(j)] += product;
      size[static_cast<size_t>(j)] += std::abs(product);
    }
    double& s = score[static_cast<size_t>(j)];
    if (a.cap > 0) s = a.cap * std::tanh(s / a.cap);
  }
  const double top = *std::max_element(score.begin(), score.end());
  double total = 0;
  for (const double s : score) total += std::exp(s - top);
  for (int64_t c = 0; c < a.d; ++c) {
    double expected = 0;
    for (int64_t j = 0; j < n; ++j) {
      expected += std::exp(score[static_cast<size_t>(j)] - top) / total * a.value(from + j, c);
    }
    double tolerance = 1e-35;  // of exponentials that are not exact below e^-87
    for (int64_t j = 0; j < n; ++j) {
      const double fall = top - score[static_cast<size_t>(j)];
      const double off = gamma(a.d) * size[static_cast<size_t>(j)] + 8 * u * a.cap + fall * u + gamma(6 * n + 12);
      tolerance += 1.02 * std::exp(-fall) / total * off * (std::abs(a.value(from + j, c)) + std::abs(expected));
    }
    ASSERT_NEAR(out[c], expected, tolerance)
        << "head_dim " << a.d << " row " << i << " of " << n << " keys, channel " << c;
  }
}

constexpr int64_t kHeadDims[] = {2, 6, 16, 18, 64, 80, 128};
const std::vector<int64_t> kNumbersOfKeys = {1, 15, 16, 17, 100, 1000, 33, 1000};

/// Some of kNumbersOfKeys for each row, not in order.
std::vector<int64_t> some_keys(int64_t n_rows, int64_t first) {
  std::vector<int64_t> n_keys;
  for (int64_t i = 0; i < n_rows; ++i) n_keys.push_back(kNumbersOfKeys[static_cast<size_t>((first + 3 * i) % 8)]);
  return n_keys;
}

TEST_P(Attend, IsSoftmaxWithinTheToleranceAtEveryNumberOfKeys) {
  for (const int64_t d : kHeadDims) {
    for (const int64_t n : kNumbersOfKeys) {
      for (const double range : {0.0, 80.0}) expect_all(random_case(d, {n, n}, range, static_cast<uint64_t>(d + n)));
    }
  }
}

TEST_P(Attend, RowsMayDifferInTheirKeys) {
  for (const int64_t d : kHeadDims) {
    for (int64_t n_rows = 1; n_rows <= kMaxQueryRows; ++n_rows) {
      for (const double range : {0.0, 80.0}) {
        expect_all(random_case(d, some_keys(n_rows, d % 8), range, static_cast<uint64_t>(d + n_rows)));
      }
    }
  }
}

/// A window of w keys for each row, its beginning anywhere in a tile, and a cap below the greatest scores.
Case windowed(Case a, int64_t w, float cap) {
  for (size_t i = 0; i < a.n_keys.size(); ++i) a.first_key[i] = std::max<int64_t>(0, a.n_keys[i] - w);
  a.cap = cap;
  return a;
}

TEST_P(Attend, IsSoftmaxOfCappedScoresInAWindow) {
  for (const int64_t d : kHeadDims) {
    for (const int64_t w : {1, 3, 15, 16, 17, 40, 2000}) {
      for (const float cap : {0.0F, 2.0F, 50.0F}) {
        const Case a = random_case(d, some_keys(kMaxQueryRows, d % 8), d % 3 == 0 ? 80.0 : 0.0, 9);
        expect_all(windowed(a, w, cap));
        expect_all(windowed(random_case(d, {1000, 1001, 1002}, 80.0, 9), w, cap));
      }
    }
  }
}

/// What is before the window, of this row and of others in the same tiles.
TEST_P(Attend, WhatIsBeforeTheWindowDoesNotShow) {
  for (const int64_t d : {6, 64}) {
    const Case a = windowed(random_case(d, {40, 60, 41, 100}, 0, 1), 9, 0);
    const std::vector<float> clean = attend(a);
    Case bad = a;
    for (auto* values : {&bad.k, &bad.v}) std::fill(values->begin(), values->begin() + 31 * d, kHalfInfinity);
    EXPECT_EQ(attend(bad), clean);
    for (int64_t i = 0; i < 4; ++i) EXPECT_TRUE(same_bits(clean, i, attend(only_row(a, i)))) << d << " row " << i;
  }
}

TEST_P(Attend, ARowIsTheSameBitForBitAloneAndAmongOthers) {
  for (const int64_t d : kHeadDims) {
    for (int64_t n_rows = 2; n_rows <= kMaxQueryRows; ++n_rows) {
      const Case a = random_case(d, some_keys(n_rows, 1), n_rows % 2 == 0 ? 80.0 : 0.0, static_cast<uint64_t>(d));
      const std::vector<float> out = attend(a);
      for (int64_t i = 0; i < n_rows; ++i) ASSERT_TRUE(same_bits(out, i, attend(only_row(a, i)))) << d << " row " << i;
    }
  }
}

/// In a cache there are keys and values that only later tokens see. The last tile of keys always ends in NaN
/// (in_tiles).
TEST_P(Attend, WhatARowDoesNotSeeDoesNotShow) {
  for (const int64_t d : {6, 64}) {
    const Case a = random_case(d, {100, 7, 33, 48}, 0, 1);
    const std::vector<float> clean = attend(a);
    const auto expect_same = [&](const Case& bad) {
      const std::vector<float> out = attend(bad);
      for (int64_t i = 1; i < 4; ++i)
        EXPECT_TRUE(same_bits(out, i, {clean.begin() + i * d, clean.begin() + (i + 1) * d})) << i;
    };
    for (const uint16_t half : {kHalfNaN, kHalfInfinity, float_to_f16(60000.0F)}) {
      Case keys = a, values = a;
      std::fill(keys.k.begin() + 48 * d, keys.k.end(), half);
      expect_same(keys);
      std::fill(values.v.begin() + 48 * d, values.v.end(), half);
      expect_same(values);
    }
  }
}

TEST_P(Attend, NaNInTheQueryIsNaNInItsRowOnly) {
  for (const int64_t d : {2, 18, 128}) {
    for (const int64_t channel : {int64_t{0}, d - 1}) {
      Case a = random_case(d, {40, 17, 1}, 0, 2);
      const std::vector<float> clean = attend(a);
      a.q[static_cast<size_t>(d + channel)] = kNaN;
      const std::vector<float> out = attend(a);
      for (int64_t c = 0; c < 3 * d; ++c) {
        const float got = out[static_cast<size_t>(c)];
        if (c / d == 1) {
          EXPECT_TRUE(std::isnan(got)) << c;
        } else {
          EXPECT_EQ(got, clean[static_cast<size_t>(c)]) << c;
        }
      }
    }
  }
}

/// One key has all the weight, whatever its score.
TEST_P(Attend, OneKeyGivesItsValueExactly) {
  for (const int64_t d : kHeadDims) {
    const Case a = random_case(d, {1, 1, 1}, 80, 3);
    const std::vector<float> out = attend(a);
    for (int64_t c = 0; c < 3 * d; ++c) EXPECT_EQ(out[static_cast<size_t>(c)], a.value(0, c % d));
  }
}

}  // namespace
}  // namespace scalebits
