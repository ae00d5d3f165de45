// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "scalebits/base/parallel.h"
#include "scalebits/kernels/products.h"
#include "tests/kernels/random_packed.h"

namespace scalebits::test {
namespace {

/// 117 rows: with blocks of 32 a last panel of 21, whose last strip of 16 has 5 rows that exist. 70 columns: ragged
/// too.
const RandomPacked& ragged() {
  static const RandomPacked packed = random_packed(117, 70, {32, 40, 20}, 0, 11);
  return packed;
}

std::vector<float> decoded(const std::vector<int32_t>& rows) {
  std::vector<float> out(rows.size() * 70, -1.0F);
  decode_rows(ragged().matrix.view(), ragged().panels, rows, out);
  return out;
}

/// The weights as the generator made them, one code at a time.
std::vector<float> expected(const std::vector<int32_t>& rows) {
  std::vector<float> out;
  for (const int32_t row : rows) {
    for (size_t c = 0; c < 70; ++c)
      out.push_back(static_cast<float>(ragged().weights[static_cast<size_t>(row) * 70 + c]));
  }
  return out;
}

TEST(DecodeRows, GivesEveryRowExactly) {
  for (int32_t row = 0; row < 117; ++row) EXPECT_EQ(decoded({row}), expected({row})) << row;
}

TEST(DecodeRows, KeepsTheOrderAskedForAndRepeats) {
  const std::vector<int32_t> rows = {116, 0, 31, 32, 31, 96, 5, 116, 116, 64, 1};
  EXPECT_EQ(decoded(rows), expected(rows));
  EXPECT_EQ(decoded({}), std::vector<float>());
}

TEST(DecodeRows, DoesNotDependOnThreads) {
  const std::vector<int32_t> rows = {100, 3, 77, 3, 50, 10, 116};
  set_num_threads(3);
  const std::vector<float> three = decoded(rows);
  set_num_threads(0);
  EXPECT_EQ(three, expected(rows));
}

}  // namespace
}  // namespace scalebits::test
