// SPDX-License-Identifier: Apache-2.0
// What is left of a column's error once it is fed back, against an elimination in f64 on inputs taken by hand.
#include "scalebits/calibrate/hessian.h"

#include <gtest/gtest.h>

#include <cmath>

#include "scalebits/base/parallel.h"
#include "tests/calibrate/quantized_case.h"

namespace scalebits::test {
namespace {

/// f64 [in, in]: the sum of x x^T over what q of layer 0 gets, the normalized embedding, by the formula of RMSNorm.
at::Tensor first_hessian(const QuantizedCase& c, const std::vector<Sequence>& sequences) {
  const ModelConfig& config = c.dense->config();
  const at::Tensor norm = c.dense->layer(0).attn_norm.to(at::kDouble);
  at::Tensor h = at::zeros({config.d_model, config.d_model}, at::kDouble);
  for (const Sequence& ids : sequences) {
    at::Tensor x = c.dense->embed(ids).squeeze(0).to(at::kDouble);
    x = x / (x.square().mean(1, true) + config.norm_eps).sqrt() * norm;
    h += x.unsqueeze(2).mul(x.unsqueeze(1)).sum(0);
  }
  return h;
}

/// Of every column, the variance that is left when the columns after it are known, over its own: Gaussian elimination
/// of the columns from the last to the first.
std::vector<double> shares_by_elimination(at::Tensor h) {
  const int64_t n = h.size(0);
  h = h.clone();
  std::vector<double> whole(static_cast<size_t>(n)), share(static_cast<size_t>(n));
  double* a = h.data_ptr<double>();
  for (int64_t j = 0; j < n; ++j) whole[static_cast<size_t>(j)] = a[j * n + j];
  for (int64_t j = n - 1; j >= 0; --j) {
    const double pivot = a[j * n + j];
    share[static_cast<size_t>(j)] = pivot / whole[static_cast<size_t>(j)];
    for (int64_t r = 0; r < j; ++r) {
      for (int64_t c = 0; c < j; ++c) a[r * n + c] -= a[r * n + j] * a[j * n + c] / pivot;
    }
  }
  return share;
}

void expect_shares(uint64_t shuffle) {
  const QuantizedCase c("clip", shuffle);
  const std::vector<Sequence> sequences = random_sequences(5, 30, 3);
  const auto shares = column_shares(c.weights, sequences, {}, silent_log());
  ASSERT_EQ(shares.size(), c.layers.items.size());
  ASSERT_EQ(c.layers.items[0].proj, Proj::kQ);
  at::Tensor h = first_hessian(c, sequences);
  const Permutation& order = c.layers.items[0].order.cols;
  if (!order.empty()) {
    at::Tensor stored = at::empty_like(h);
    for (int64_t i = 0; i < h.size(0); ++i) {
      for (int64_t j = 0; j < h.size(0); ++j) {
        stored[i][j] = h[order[static_cast<size_t>(i)]][order[static_cast<size_t>(j)]];
      }
    }
    h = stored;
  }
  h.diagonal().add_(0.1 * h.diagonal().mean());  // as GPTQ is damped here
  const std::vector<double> expected = shares_by_elimination(h);
  // The Hessian's f32 sums are off by some 1e-6 of the diagonal, of which at least a tenth is left as pivot.
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(shares[0][i], expected[i], 1e-4) << i;
  EXPECT_NEAR(shares[0].back(), 1.0, 1e-6);  // nothing comes after it
  for (const auto& of_item : shares) {
    for (const float share : of_item) EXPECT_TRUE(share > 0 && share <= 1);
  }
}

TEST(ColumnShares, AreWhatAnEliminationLeaves) { expect_shares(0); }
TEST(ColumnShares, FollowTheStoredOrder) { expect_shares(7); }

TEST(ColumnShares, DoNotDependOnThreads) {
  const QuantizedCase c;
  const std::vector<Sequence> sequences = random_sequences(5, 30, 3);
  set_num_threads(1);
  const auto one = column_shares(c.weights, sequences, {}, silent_log());
  set_num_threads(3);
  EXPECT_EQ(column_shares(c.weights, sequences, {}, silent_log()), one);
  set_num_threads(0);
}

TEST(ColumnShares, WeighSquaredErrorsAndNothingElse) {
  QuantizedCase c;
  c.draw_widths(2, 6, 1);
  const std::vector<Sequence> sequences = random_sequences(3, 20, 4);
  const PassOptions plain{.loss = LossKind::kSampled};
  const PassResult whole = gradient_pass(c.weights, sequences, {}, plain);
  std::vector<std::vector<float>> quarter;
  for (const auto& item : c.layers.items) quarter.emplace_back(static_cast<size_t>(item.grid.in_features()), 0.25F);
  PassOptions weighed = plain;
  weighed.column_shares = &quarter;
  const PassResult part = gradient_pass(c.weights, sequences, {}, weighed);
  for (size_t i = 0; i < whole.linears.size(); ++i) {
    for (size_t b = 0; b < whole.linears[i].blocks.size(); ++b) {
      const BlockSensitivity &w = whole.linears[i].blocks[b], &p = part.linears[i].blocks[b];
      // A quarter of every term is exact.
      EXPECT_EQ(p.err, 0.25 * w.err);
      EXPECT_EQ(p.err_up, 0.25 * w.err_up);
      EXPECT_EQ(p.err_down, 0.25 * w.err_down);
      EXPECT_EQ(p.up, w.up);
      EXPECT_EQ(p.move_up, w.move_up);
      EXPECT_EQ(p.fisher, w.fisher);
    }
    EXPECT_EQ(part.linears[i].row_fisher, whole.linears[i].row_fisher);
  }
}

}  // namespace
}  // namespace scalebits::test
