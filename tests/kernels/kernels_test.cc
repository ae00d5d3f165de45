// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "scalebits/base/checked.h"
#include "scalebits/base/half.h"
#include "scalebits/kernels/products.h"
#include "tests/kernels/expect_product.h"
#include "tests/kernels/guarded_bytes.h"

namespace scalebits {
namespace {

using test::bound;
using test::expect_product;
using test::GuardedBytes;
using test::kLarge;
using test::kSmall;
using test::random_floats;
using test::random_packed;
using test::RandomPacked;

/// Every table this machine runs; a faster one is tested as soon as it exists.
class Kernels : public ::testing::TestWithParam<std::string_view> {
 protected:
  const KernelTable& table() { return select_kernels(GetParam()); }

  void expect_gemv(const RandomPacked& w, int32_t n_tokens) {
    const int64_t cols = w.grid.in_features();
    const std::vector<float> x = random_floats(n_tokens * cols, 5);
    std::vector<float> values(static_cast<size_t>(round_up(cols, kTileCols) * n_tokens));
    for (int64_t i = 0; i < n_tokens * cols; ++i) {
      values[static_cast<size_t>(i % cols * n_tokens + i / cols)] = x[static_cast<size_t>(i)];
    }
    const auto gemv = [&](const PackedPanels& packed, int64_t panel, float* y, int64_t stride) {
      table().gemv(packed, panel, {values.data(), n_tokens}, y, stride);
    };
    expect_product(w, x, n_tokens, all_panels(w, n_tokens, gemv), 2);
  }

  /// Results of all panels, [n_tokens, out_features]. What lies beyond a panel's rows must be left alone.
  template <class Kernel>
  static std::vector<float> all_panels(const RandomPacked& w, int64_t n_tokens, const Kernel& kernel) {
    const PackedView view = w.matrix.view();
    const PackedPanels packed = packed_panels(view, w.panels);
    std::vector<float> all(static_cast<size_t>(n_tokens * w.grid.out_features()));
    for (int64_t panel = 0; panel < w.grid.row_blocks(); ++panel) {
      const Extent rows = w.grid.rows(panel);
      const int64_t stride = rows.padded + 3;
      std::vector<float> y(static_cast<size_t>(n_tokens * stride), 77.0F);
      kernel(packed, panel, y.data(), stride);
      for (int64_t t = 0; t < n_tokens; ++t) {
        const float* row = &y[static_cast<size_t>(t * stride)];
        std::copy_n(row, rows.count, &all[static_cast<size_t>(t * w.grid.out_features() + rows.first)]);
        for (int64_t r = rows.count; r < rows.padded; ++r) EXPECT_EQ(row[r], 0.0F);
        for (int64_t r = rows.padded; r < stride; ++r) EXPECT_EQ(row[r], 77.0F);
      }
    }
    return all;
  }

  static std::vector<float> int8_product(const KernelTable& table, const RandomPacked& w, const Int8Activations& x) {
    return all_panels(w, x.n_tokens(), [&](const PackedPanels& packed, int64_t panel, float* y, int64_t stride) {
      table.gemm_int8(packed, panel, x.sets().data(), static_cast<int64_t>(x.sets().size()), y, stride);
    });
  }
  static std::vector<float> int8_product_by_sets(const KernelTable& table, const RandomPacked& w,
                                                 const Int8Activations& x) {
    return all_panels(w, x.n_tokens(), [&](const PackedPanels& packed, int64_t panel, float* y, int64_t stride) {
      for (size_t i = 0; i < x.sets().size(); ++i) {
        table.gemv_int8(packed, panel, x.sets()[i], y + static_cast<int64_t>(i) * kMaxGemvTokens * stride, stride);
      }
    });
  }
  void expect_int8(const RandomPacked& w, int64_t n_tokens) {
    Int8Activations x;
    x.assign(random_floats(n_tokens * w.grid.in_features(), 5), n_tokens, w.grid.spec().group_size, {});
    const std::vector<float> expected = int8_product_by_sets(select_kernels("reference"), w, x);
    ASSERT_EQ(int8_product_by_sets(table(), w, x), expected);
    ASSERT_EQ(int8_product(table(), w, x), expected);
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

TEST_P(Kernels, Int8ProductsAreTheSameFloatsAtEveryWidth) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int64_t n_tokens : {1, 2, 5, 8, 19}) {
      expect_int8(random_packed(40, 100, kSmall, bits, static_cast<uint64_t>(bits)), n_tokens);
      expect_int8(random_packed(200, 300, kLarge, bits, static_cast<uint64_t>(bits)), n_tokens);
    }
  }
}

TEST_P(Kernels, Int8ProductsAreTheSameFloatsOnRaggedShapesOfMixedWidths) {
  for (int64_t rows = 1; rows <= 33; rows += 4) {
    for (int64_t cols = 1; cols <= 50; ++cols) {
      expect_int8(random_packed(rows, cols, kSmall, 0, static_cast<uint64_t>(rows * 64 + cols)), 1 + cols % 17);
    }
  }
}

TEST_P(Kernels, Int8ProductsAreTheSameFloatsInGroupsOfAnySize) {
  for (const int group_size : {4, 36, 1024, 1028, 2048}) {
    const BlockSpec spec{.rows = 16, .cols = group_size, .group_size = group_size};
    expect_int8(random_packed(32, 4100, spec, 0, 7), 11);
  }
}

/// All codes and all activations at their greatest, one group a row: where sums could overflow if any can. Groups of
/// 1024 go through the product that unpacks tiles first.
TEST_P(Kernels, TheGreatestIntegerSumsDoNotOverflow) {
  for (const int size : {1024, kMaxGroupSize}) {
    for (int bits = 1; bits <= 8; ++bits) {
      const BlockGrid grid(16, size, {.rows = 16, .cols = size, .group_size = size});
      RandomPacked w{
          .grid = grid, .matrix = PackedMatrix(grid, {static_cast<uint8_t>(bits)}), .panels = {}, .weights = {}};
      const int code = (1 << bits) - 1;
      w.matrix.set_block(0, std::vector<uint8_t>(static_cast<size_t>(16 * size), static_cast<uint8_t>(code)),
                         std::vector<GroupParams>(16, {.scale = nearest_scale(1.0F), .zero = 0}));
      w.panels = check_packed(w.matrix.view(), "greatest");
      for (const float sign : {1.0F, -1.0F}) {
        Int8Activations x;
        x.assign(std::vector<float>(static_cast<size_t>(9 * size), sign), 9, size, {});
        const double exact = static_cast<double>(sign) * code * size;
        for (const float y : int8_product(table(), w, x)) EXPECT_NEAR(y, exact, 1e-6 * std::abs(exact));
        for (const float y : int8_product_by_sets(table(), w, x)) EXPECT_NEAR(y, exact, 1e-6 * std::abs(exact));
      }
    }
  }
}

/// The definition itself against exact arithmetic on the activations as they were rounded, in one part for narrow
/// weights and two for others: integer sums are exact here, and each group costs at most four roundings a part.
TEST(ReferenceKernels, Int8ProductIsThatOfTheRoundedActivations) {
  for (int bits = 1; bits <= 8; ++bits) {
    const RandomPacked w = random_packed(70, 150, kSmall, bits, 3);
    const std::vector<float> x = random_floats(3 * 150, 5);
    Int8Activations rounded;
    rounded.assign(x, 3, kSmall.group_size, {});
    std::vector<float> values(x.size()), y(3 * 70);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t t = i / 150, c = i % 150;
      for (int p = 0; p < (bits < kTwoPartBits ? 1 : 2); ++p) {
        const Int8Tokens::Part& part = rounded.sets()[0].parts[p];
        values[i] += part.scales[c / 8 * 3 + t] * part.values[(c / 4 * 3 + t) * 4 + c % 4];
      }
    }
    const PackedView view = w.matrix.view();
    const std::vector<Int8Product> products = {{&view, &w.panels, &rounded, y, {}}};
    multiply_int8(products);
    expect_product(w, values, 3, y, 8 * 19);
  }
}

/// Also shows that nothing need be aligned: streams begin wherever their lengths put them. In groups of 64 whole steps
/// of eight tiles end a stream, in groups of 8 single tiles do.
TEST_P(Kernels, ReadNothingBeyondTheStreams) {
  for (int i = 0; i < 16; ++i) {
    const BlockSpec spec = i < 8 ? kSmall : kLarge;
    const int bits = 1 + i % 8;
    for (const int64_t cols : {4, 20, 24, 64, 100}) {
      const RandomPacked w = random_packed(40, cols, spec, bits, 1);
      const PackedView view = w.matrix.view();
      const GuardedBytes codes(view.codes), scales(view.scales), zeros(view.zeros), widths(view.bits);
      PackedPanels packed = packed_panels(view, w.panels);
      packed.codes = codes.begin();
      packed.scales = scales.begin();
      packed.zeros = zeros.begin();
      packed.bits = widths.begin();
      const std::vector<float> x = random_floats(9 * cols, 5);
      Int8Activations rounded;
      rounded.assign(x, 9, spec.group_size, {});
      std::vector<float> y(9 * 48), decoded(static_cast<size_t>(40 * cols));
      for (int64_t panel = 0; panel < w.grid.row_blocks(); ++panel) {
        table().gemv(packed, panel, {x.data(), 1}, y.data(), 48);
        table().gemv_int8(packed, panel, rounded.sets()[0], y.data(), 48);
        table().gemm_int8(packed, panel, rounded.sets().data(), 2, y.data(), 48);
        table().decode_panel(packed, panel, decoded.data(), cols);
      }
    }
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

}  // namespace
}  // namespace scalebits
