// SPDX-License-Identifier: Apache-2.0
// Refinement against the error that it lowers, formed anew in f64 for each change that could be made.
#include "scalebits/pack/refine.h"

#include <gtest/gtest.h>

#include "scalebits/base/log.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {
namespace {

constexpr BlockSpec kSpec{16, 32, 16};
constexpr int64_t kRows = 16, kCols = 75;  // blocks of 32, 32 and 11 columns

at::Tensor random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  return at::randn({rows, cols}, at::detail::createCPUGenerator(seed));
}

class Refine : public ::testing::Test {
 protected:
  Refine() {
    const at::Tensor x =
        at::matmul(random_matrix(300, kCols, 4), random_matrix(kCols, kCols, 3) / 8.0 + at::eye(kCols));
    feedback_ = error_feedback(at::matmul(x.t(), x), "layer", silent_log());
    for (int64_t c = 0; c < linear_.grid.col_blocks(); ++c) round_block(c);
  }

  /// Every group by itself.
  void round_block(int64_t c) {
    const Extent cols = linear_.grid.cols(c);
    const int bits = linear_.bits[static_cast<size_t>(c)];
    std::vector<uint8_t> codes;
    std::vector<GroupParams> params;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t i = 0; i < cols.count; ++i) {
        const float* w = target_.data_ptr<float>() + r * kCols + cols.first + i;
        if (i % kSpec.group_size == 0) {
          const auto n = static_cast<size_t>(std::min<int64_t>(kSpec.group_size, cols.count - i));
          params.push_back(group_quantizer("clip").fit({w, n}, {}, bits));
        }
        codes.push_back(round_code(*w, params.back(), bits));
      }
    }
    panel_.codes.push_back(codes);
    panel_.params.push_back(params);
    decode_all();
  }

  /// decoded from codes and parameters.
  void decode_all() {
    panel_.decoded = at::zeros({kRows, kCols});
    for (size_t c = 0; c < panel_.codes.size(); ++c) {
      const Extent cols = linear_.grid.cols(static_cast<int64_t>(c));
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t i = 0; i < cols.count; ++i) {
          panel_.decoded[r][cols.first + i] =
              decode(panel_.codes[c][static_cast<size_t>(r * cols.count + i)], params_of(c, r, i), linear_.bits[c]);
        }
      }
    }
  }
  GroupParams& params_of(size_t c, int64_t r, int64_t i) {
    return panel_
        .params[c][static_cast<size_t>(r * linear_.grid.groups(static_cast<int64_t>(c)) + i / kSpec.group_size)];
  }

  [[nodiscard]] double error() const {
    const at::Tensor e = (panel_.decoded - target_).to(at::kDouble);
    return (at::matmul(e, feedback_.h.to(at::kDouble)) * e).sum().item<double>();
  }
  void refine_once() { refine(linear_, 0, target_, feedback_, 1, panel_); }

  LinearPlan linear_{"layer", BlockGrid(kRows, kCols, kSpec), {2, 3, 1}, {}, {}};
  at::Tensor target_ = random_matrix(kRows, kCols, 1);
  Feedback feedback_;
  RoundedPanel panel_;
};

TEST_F(Refine, LowersTheErrorInEverySweepUntilNothingChanges) {
  const double alone = error();
  double before = alone;
  for (int sweep = 0; sweep < 100; ++sweep) {
    const auto codes = panel_.codes;
    const auto params = panel_.params;
    refine_once();
    if (panel_.codes == codes && panel_.params == params) break;
    ASSERT_LT(sweep, 99);
    EXPECT_LT(error(), before);
    before = error();
  }
  EXPECT_LT(error(), 0.7 * alone);
}

TEST_F(Refine, DecodedIsWhatCodesAndParametersSay) {
  refine_once();
  const at::Tensor decoded = panel_.decoded;
  decode_all();
  EXPECT_TRUE(at::equal(panel_.decoded, decoded));
}

TEST_F(Refine, EndsWhereNoSingleChangeHelps) {
  refine(linear_, 0, target_, feedback_, 100, panel_);
  const double least = error() * (1 - 1e-6);
  const RoundedPanel end = panel_;
  const auto expect_no_better = [&](const std::string& what) {
    decode_all();
    EXPECT_GE(error(), least) << what;
    panel_ = end;
  };
  for (size_t c = 0; c < end.codes.size(); ++c) {
    for (size_t i = 0; i < end.codes[c].size(); i += 7) {
      for (const int by : {-1, 1}) {
        const int code = end.codes[c][i] + by;
        if (code < 0 || code >= 1 << linear_.bits[c]) continue;
        panel_.codes[c][i] = static_cast<uint8_t>(code);
        expect_no_better("code " + std::to_string(i));
      }
    }
    for (size_t g = 0; g < end.params[c].size(); ++g) {
      for (const auto& [scale, zero] : {std::pair{-1, 0}, {1, 0}, {0, -1}, {0, 1}, {2, 1}, {-2, -1}}) {
        const int s = end.params[c][g].scale + scale, z = end.params[c][g].zero + zero;
        if (s < 1 || s > 255 || z < 0 || z >= 1 << zero_bits(linear_.bits[c])) continue;
        panel_.params[c][g] = {static_cast<uint8_t>(s), static_cast<uint8_t>(z)};
        expect_no_better("group " + std::to_string(g));
      }
    }
  }
}

TEST_F(Refine, LeavesAGroupOfZerosAlone) {
  target_.narrow(0, 3, 1).narrow(1, 0, 16).zero_();
  panel_ = {};
  for (int64_t c = 0; c < linear_.grid.col_blocks(); ++c) round_block(c);
  ASSERT_EQ(panel_.params[0][6].scale, 0);
  const double before = error();
  refine(linear_, 0, target_, feedback_, 3, panel_);
  EXPECT_EQ(panel_.params[0][6].scale, 0);
  EXPECT_EQ(panel_.decoded[3].narrow(0, 0, 16).abs().max().item<float>(), 0);
  EXPECT_LT(error(), before);
}

}  // namespace
}  // namespace scalebits
