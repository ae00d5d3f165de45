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
  ASSERT_EQ(c.layers.items[0].slot, Proj::kQ);
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

/// Of drawn inputs, by the definition, in f64.
TEST(Moments, AreSumsOverTokensInTheStoredOrder) {
  for (const uint64_t shuffle : {0, 7}) {
    const QuantizedCase c("clip", shuffle);
    const Proj p = Proj::kO;
    const auto item = static_cast<size_t>(c.weights.item_of(1, p));
    const LinearShape shape = linear_shape(c.dense->config(), 1, p);
    std::vector<at::Tensor> x, should_be, owed, root;
    for (uint64_t s = 0; s < 3; ++s) {
      const auto tokens = static_cast<int64_t>(5 + s);
      x.push_back(random_normal({tokens, shape.in_features}, 10 + s));
      should_be.push_back(random_normal({tokens, shape.in_features}, 20 + s));
      owed.push_back(random_normal({1, tokens, shape.out_features}, 30 + s));
      root.push_back(random_normal({tokens, 1}, 40 + s).abs());
    }
    const auto taps_of = [&](const std::vector<at::Tensor>& inputs, int64_t s) {
      LayerTaps taps;
      taps.reserve(kProjections.size());
      taps[p].x = inputs[static_cast<size_t>(s)];
      return taps;
    };
    const std::vector<Slot> slots = {p};
    const LayerMoments moments =
        sum_moments(c.weights, {.layer = 1,
                                .slots = slots,
                                .n_sequences = 3,
                                .length = 7,
                                .taps = [&](int64_t s) { return taps_of(x, s); },
                                .should_be = [&](int64_t s) { return taps_of(should_be, s); },
                                .owed = [&](Slot, int64_t s) { return owed[static_cast<size_t>(s)].squeeze(0); },
                                .root_weight = [&](Slot, int64_t s) { return root[static_cast<size_t>(s)]; }});
    at::Tensor second = at::zeros({shape.in_features, shape.in_features}, at::kDouble), drift = at::zeros_like(second);
    at::Tensor debt = at::zeros({shape.out_features, shape.in_features}, at::kDouble);
    for (size_t s = 0; s < 3; ++s) {
      for (int64_t t = 0; t < x[s].size(0); ++t) {
        const at::Tensor weight = root[s][t].to(at::kDouble).square(), of = x[s][t].to(at::kDouble);
        second += weight * at::outer(of, of);
        drift += weight * at::outer(should_be[s][t].to(at::kDouble) - of, of);
        debt += weight * at::outer(owed[s][0][t].to(at::kDouble), of);
      }
    }
    const RowColOrder& order = c.layers.items[item].order;
    const auto stored = [](const at::Tensor& m, const Permutation& rows, const Permutation& cols) {
      return permute_dim(permute_dim(m, 0, rows), 1, cols);
    };
    const InputMoments& got = moments[p];
    // Up to 18 products summed in f32; entries are of the order of 10.
    const auto expect_near = [](const at::Tensor& a, const at::Tensor& b) { EXPECT_LE(max_error(a, b), 1e-4); };
    expect_near(got.second.triu(), stored(second, order.cols, order.cols).triu());
    expect_near(got.drift, stored(drift, order.cols, order.cols));
    expect_near(got.owed, stored(debt, order.rows, order.cols));
    EXPECT_FALSE(moments[Proj::kQ].second.defined());
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
