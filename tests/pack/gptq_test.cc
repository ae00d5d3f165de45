// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/gptq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"

namespace scalebits {
namespace {

constexpr BlockSpec kSpec{16, 32, 16};

at::Tensor random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  return at::randn({rows, cols}, at::detail::createCPUGenerator(seed));
}

/// Second moment of inputs whose channels are strongly correlated.
at::Tensor correlated_hessian(int64_t n) {
  const at::Tensor mix = random_matrix(n, n, 3) / std::sqrt(static_cast<double>(n)) + at::eye(n) * 0.3;
  const at::Tensor x = at::matmul(random_matrix(4 * n, n, 4), mix);
  return at::matmul(x.t(), x);
}

LinearPlan plan_of(int64_t rows, int64_t cols) {
  LinearPlan plan{"layer", BlockGrid(rows, cols, kSpec), {}, {}, {}};
  for (int64_t b = 0; b < plan.grid.n_blocks(); ++b) plan.bits.push_back(static_cast<uint8_t>(1 + (5 * b + 1) % 4));
  return plan;
}

/// The model's output error, tr(E H E^T), in f64.
double output_error(const at::Tensor& decoded, const at::Tensor& w, const at::Tensor& h) {
  const at::Tensor e = (decoded - w).to(at::kDouble);
  return (at::matmul(e, h.to(at::kDouble)) * e).sum().item<double>();
}

/// Every group rounded for itself.
at::Tensor rounded_alone(const LinearPlan& plan, const at::Tensor& w) {
  at::Tensor out = at::empty_like(w);
  const BlockGrid& grid = plan.grid;
  for (int64_t b = 0; b < grid.n_blocks(); ++b) {
    const Extent rows = grid.rows(b / grid.col_blocks()), cols = grid.cols(b % grid.col_blocks());
    const int bits = plan.bits[static_cast<size_t>(b)];
    for (int64_t r = rows.first; r < rows.first + rows.count; ++r) {
      for (int64_t c = cols.first; c < cols.first + cols.count; c += kSpec.group_size) {
        const auto n = static_cast<size_t>(std::min<int64_t>(kSpec.group_size, cols.first + cols.count - c));
        const std::span<const float> group(w.data_ptr<float>() + r * w.size(1) + c, n);
        const GroupParams p = group_quantizer("clip").fit(group, {}, bits);
        fake_quantize_row(group, p, bits, out.data_ptr<float>() + r * w.size(1) + c);
      }
    }
  }
  return out;
}

/// GPTQ as its paper writes it (algorithm 1 with block size 1), in f64: after each column the rest is updated by the
/// rows of the upper Cholesky factor of the inverse Hessian.
at::Tensor textbook(const LinearPlan& plan, const at::Tensor& weight, const at::Tensor& hessian) {
  const int64_t n = hessian.size(0);
  at::Tensor h = hessian.to(at::kDouble);
  h += at::eye(n, at::kDouble) * (0.1 * h.diagonal().mean().item<double>());
  const at::Tensor factor = at::linalg_cholesky(at::linalg_inv(h)).t().contiguous();
  at::Tensor w = weight.to(at::kDouble), out = at::empty_like(w);
  const BlockGrid& grid = plan.grid;
  for (int64_t r = 0; r < w.size(0); ++r) {
    GroupParams p;
    for (int64_t c = 0; c < n; ++c) {
      const int64_t block = r / kSpec.rows * grid.col_blocks() + c / kSpec.cols;
      const int bits = plan.bits[static_cast<size_t>(block)];
      if (c % kSpec.group_size == 0) {
        std::vector<float> group, importance;
        for (int64_t k = c; k < std::min<int64_t>(c + kSpec.group_size, n); ++k) {
          group.push_back(static_cast<float>(w[r][k].item<double>()));
          // What is left of a column's error counts by the squared pivot of its inverse.
          importance.push_back(static_cast<float>(std::pow(factor[k][k].item<double>(), -2)));
        }
        p = group_quantizer("clip").fit(group, importance, bits);
      }
      const double before = w[r][c].item<double>();
      const double after = decode(round_code(static_cast<float>(before), p, bits), p, bits);
      out[r][c] = after;
      const double share = (before - after) / factor[c][c].item<double>();
      w[r].narrow(0, c, n - c) -= share * factor[c].narrow(0, c, n - c);
    }
  }
  return out.to(at::kFloat);
}

TEST(ErrorFeedback, FactorsTheDampedHessian) {
  const at::Tensor h = correlated_hessian(150);
  const Feedback feedback = error_feedback(h.clone(), "layer", silent_log());
  EXPECT_EQ(feedback.damping, 0.1);
  const at::Tensor f = feedback.f.triu(1).to(at::kDouble) + at::eye(150, at::kDouble);
  at::Tensor d = at::empty({150}, at::kDouble);
  for (int64_t j = 0; j < 150; ++j) d[j] = feedback.d[static_cast<size_t>(j)];
  at::Tensor damped = h.to(at::kDouble);
  damped.diagonal().add_(0.1 * damped.diagonal().mean().item<double>());
  const at::Tensor product = at::matmul(f * d, f.t());
  EXPECT_LE((product - damped).abs().max().item<double>(), 151.0 / (1 << 24) * damped.abs().max().item<double>());
  EXPECT_TRUE(at::equal(feedback.h, feedback.h.t()));
  const at::Tensor difference = (feedback.h - damped).triu();  // the test's Hessian has other sums below
  EXPECT_LE(difference.abs().max().item<double>(), 2.0 / (1 << 24) * damped.abs().max().item<double>());
}

TEST(ErrorFeedback, SolvesForRows) {
  for (const int64_t n : {1, 75, 128, 300}) {  // one block of columns, exactly one, three
    const Feedback feedback = error_feedback(correlated_hessian(n), "layer", silent_log());
    const at::Tensor b = random_matrix(70, n, 5);
    at::Tensor x = b.clone();
    solve_rows(feedback, x);
    const at::Tensor back = at::matmul(x.to(at::kDouble), feedback.h.to(at::kDouble));
    // The damped Hessian's condition is below 100: its largest eigenvalue is some ten times the mean, the least 0.1.
    EXPECT_LE((back - b).abs().max().item<double>(), 100.0 * static_cast<double>(n) / (1 << 24)) << n;
  }
}

TEST(ErrorFeedback, DampsAHessianThatIsNotPositiveDefiniteUntilItIs) {
  // Eigenvalues 1 (149 times) and -0.2: 10 % of the mean diagonal do not make up for it.
  at::Tensor h = at::eye(150);
  h[7][7] = -0.2F;
  EXPECT_EQ(error_feedback(h.clone(), "layer", silent_log()).damping, 0.3);
  h[7][7] = -50.0F;
  EXPECT_THROW(error_feedback(h.clone(), "layer", silent_log()), Error);
}

TEST(ErrorFeedback, NamesTheLayerWhoseInputsAreNotFinite) {
  at::Tensor h = at::eye(8);
  h[3][3] = std::numeric_limits<float>::infinity();
  try {
    error_feedback(h, "model.layers.1.mlp.down_proj", silent_log());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("model.layers.1.mlp.down_proj"));
  }
}

TEST(PackCompensated, IsTheTextbookAlgorithm) {
  const at::Tensor w = random_matrix(40, 75, 1), h = correlated_hessian(75);
  const LinearPlan plan = plan_of(40, 75);
  const at::Tensor expected = textbook(plan, w, h);
  at::Tensor decoded;
  pack_compensated(plan, w, error_feedback(h.clone(), "layer", silent_log()), group_quantizer("clip"), &decoded, 0);
  // A weight within an f32 rounding of the middle between two codes may fall to either side, and then takes the rest of
  // its row along: at most a row in twenty here.
  const int64_t rows = (decoded != expected).any(1).sum().item<int64_t>();
  EXPECT_LE(rows, 2);
  EXPECT_NEAR(output_error(decoded, w, h), output_error(expected, w, h), 0.02 * output_error(expected, w, h));
}

TEST(PackCompensated, LowersTheOutputError) {
  const at::Tensor w = random_matrix(64, 128, 1), h = correlated_hessian(128);
  const LinearPlan plan = plan_of(64, 128);
  at::Tensor decoded;
  pack_compensated(plan, w, error_feedback(h.clone(), "layer", silent_log()), group_quantizer("clip"), &decoded);
  EXPECT_LT(output_error(decoded, w, h), 0.9 * output_error(rounded_alone(plan, w), w, h));
}

TEST(PackCompensated, WithoutCorrelationEveryGroupIsRoundedForItself) {
  const at::Tensor w = random_matrix(40, 75, 1);
  const LinearPlan plan = plan_of(40, 75);
  at::Tensor decoded;
  pack_compensated(plan, w, error_feedback(at::eye(75), "layer", silent_log()), group_quantizer("clip"), &decoded, 0);
  EXPECT_TRUE(at::equal(decoded, rounded_alone(plan, w)));
}

TEST(PackCompensated, PacksWhatItDecodesForAnyNumberOfThreads) {
  const at::Tensor w = random_matrix(40, 75, 1);
  const LinearPlan plan = plan_of(40, 75);
  const Feedback feedback = error_feedback(correlated_hessian(75), "layer", silent_log());
  at::Tensor decoded;
  set_num_threads(3);
  const PackedMatrix packed = pack_compensated(plan, w, feedback, group_quantizer("clip"), &decoded);
  set_num_threads(1);
  const PackedMatrix again = pack_compensated(plan, w, feedback, group_quantizer("clip"), nullptr);
  set_num_threads(0);
  EXPECT_TRUE(std::ranges::equal(packed.view().codes, again.view().codes));
  const PanelOffsets panels = check_packed(packed.view(), "test");
  const BlockGrid& grid = plan.grid;
  for (int64_t b = 0; b < grid.n_blocks(); ++b) {
    const Extent rows = grid.rows(b / grid.col_blocks()), cols = grid.cols(b % grid.col_blocks());
    const int64_t groups = grid.groups(b % grid.col_blocks());
    std::vector<uint8_t> codes(static_cast<size_t>(rows.count * cols.count));
    std::vector<GroupParams> params(static_cast<size_t>(rows.count * groups));
    get_block(packed.view(), panels, b, codes, params);
    for (int64_t r = 0; r < rows.count; ++r) {
      for (int64_t c = 0; c < cols.count; ++c) {
        const GroupParams p = params[static_cast<size_t>(r * groups + c / kSpec.group_size)];
        const float value =
            decode(codes[static_cast<size_t>(r * cols.count + c)], p, plan.bits[static_cast<size_t>(b)]);
        ASSERT_EQ(value, decoded[rows.first + r][cols.first + c].item<float>());
      }
    }
  }
}

}  // namespace
}  // namespace scalebits
