// SPDX-License-Identifier: Apache-2.0
// What one gradient pass reports of every block and channel, against full gradients by float64 autograd, contracted by
// hand; and against finite differences of the loss.
#include "scalebits/calibrate/sensitivity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/calibrate/quantized_case.h"

namespace scalebits::test {
namespace {

/// How far the pass's f32 gradient of a matrix may be from the true one, relative, Frobenius: a float32 run of an
/// independent program is off by 1.1e-6 (golden metadata); ours sums in other orders, and the KL gradient q - p cancels
/// a few-fold at the widths used here. By Cauchy-Schwarz a contraction with `move` is then off by kGradient |g| |move|.
constexpr double kGradient = 16 * 1.1e-6;

/// Everything a pass contracts for one matrix, f64.
struct Expected {
  at::Tensor w, q, up, down;  ///< weights, Q_b, Q_{b+1}, Q_{b-1} (Q_b where there is no such width)
  at::Tensor g, f;            ///< gradient of the mean loss; sum of squared sequence gradients / positions
};

struct FullGradients {
  std::vector<Expected> items;
  double loss = 0;
};

/// @param sequence_loss  summed loss of one sequence, differentiable in the decoder's weights
template <class Loss>
FullGradients full_gradients(const QuantizedCase& c, const std::vector<Sequence>& sequences, double positions,
                             Loss loss) {
  FullGradients full;
  const size_t n = c.layers.items.size();
  for (size_t i = 0; i < n; ++i) {
    Expected e{c.stored(i), c.moved(i, 0), c.moved(i, 1), c.moved(i, -1), at::zeros_like(c.stored(i), at::kDouble), {}};
    for (at::Tensor* t : {&e.w, &e.q, &e.up, &e.down}) *t = t->to(at::kDouble);
    e.f = at::zeros_like(e.g);
    full.items.push_back(e);
  }
  PlainDecoder plain = c.plain();
  for (const Sequence& ids : sequences) {
    plain.track();
    const at::Tensor nats = loss(plain, ids);
    nats.backward();
    full.loss += nats.template item<double>() / positions;
    for (size_t i = 0; i < n; ++i) {
      const at::Tensor g = c.reordered(i, plain.gradient(c.layers.items[i].name));
      full.items[i].g += g / positions;
      full.items[i].f += g.square() / positions;
    }
  }
  return full;
}

double total(const at::Tensor& x) { return x.sum().item<double>(); }

/// All fields of one block.
void expect_block(const BlockSensitivity& s, const Expected& m, const BlockGrid& grid, int64_t block, int bits) {
  const auto part = [&](const at::Tensor& t) { return block_of(t, grid, block); };
  const at::Tensor g = part(m.g), f = part(m.f), e = part(m.q) - part(m.w);
  const at::Tensor up = part(m.up) - part(m.q), down = part(m.down) - part(m.q);
  const double per_norm = kGradient * frobenius(m.g);
  EXPECT_NEAR(s.up, total(g * up), per_norm * frobenius(up));
  EXPECT_NEAR(s.down, total(g * down), per_norm * frobenius(down));
  EXPECT_NEAR(s.restore, -total(g * e), per_norm * frobenius(e));
  // |d(g^2)| <= 2 |g| |dg|, and Cauchy-Schwarz again: 2 kGradient of the whole matrix's F, times the largest factor.
  const double per_max = 2 * kGradient * total(m.f);
  EXPECT_NEAR(s.fisher, total(f), per_max);
  const bool has_up = bits >= 1 && bits<8, has_down = bits> 1;
  const auto expect_weighted = [&](double got, const at::Tensor& difference, bool there, const char* what) {
    const double bound = per_max * max_magnitude(difference.square()) + 1e-300;
    EXPECT_NEAR(got, there ? total(f * difference.square()) : 0.0, bound) << what << " at " << bits << " bits";
  };
  expect_weighted(s.err, e, true, "err");
  expect_weighted(s.err_up, e + up, has_up, "err_up");
  expect_weighted(s.err_down, e + down, has_down, "err_down");
  expect_weighted(s.move_up, up, has_up, "move_up");
  expect_weighted(s.move_down, down, has_down, "move_down");
  if (!has_up) {
    EXPECT_EQ(s.up, 0.0);
  }
  if (!has_down) {
    EXPECT_EQ(s.down, 0.0);
  }
}

void expect_channels(const LinearSensitivity& s, const Expected& m) {
  const at::Tensor e = m.q - m.w;
  const auto as_tensor = [](const std::vector<double>& v) {
    return at::from_blob(const_cast<double*>(v.data()), {static_cast<int64_t>(v.size())}, at::kDouble);
  };
  for (const int64_t axis : {0, 1}) {
    const at::Tensor score = (m.g * e).abs().sum(1 - axis), fisher = m.f.sum(1 - axis);
    EXPECT_LT(max_error(as_tensor(axis == 0 ? s.row_score : s.col_score), score),
              kGradient * frobenius(m.g) * frobenius(e));
    EXPECT_LT(max_error(as_tensor(axis == 0 ? s.row_fisher : s.col_fisher), fisher), 2 * kGradient * total(m.f));
  }
}

void expect_all(const QuantizedCase& c, const PassResult& result, const FullGradients& full) {
  EXPECT_NEAR(result.loss, full.loss, 1e-5 * std::abs(full.loss));
  ASSERT_EQ(result.linears.size(), full.items.size());
  for (size_t i = 0; i < full.items.size(); ++i) {
    SCOPED_TRACE(c.layers.items[i].name);
    const BlockGrid& grid = c.layers.items[i].grid;
    ASSERT_EQ(static_cast<int64_t>(result.linears[i].blocks.size()), grid.n_blocks());
    for (int64_t b = 0; b < grid.n_blocks(); ++b) {
      expect_block(result.linears[i].blocks[static_cast<size_t>(b)], full.items[i], grid, b,
                   c.weights.bits(i)[static_cast<size_t>(b)]);
    }
    expect_channels(result.linears[i], full.items[i]);
  }
}

class GradientPassOf : public ::testing::TestWithParam<const char*> {};

TEST_P(GradientPassOf, KlEqualsFullGradientsContractedByHand) {
  QuantizedCase c(GetParam());
  c.draw_widths(0, 8, 1);
  const std::vector<Sequence> sequences = random_sequences(3, 24, 2);
  const PassResult result = gradient_pass(c.weights, sequences, reference_hidden(*c.dense, sequences), {});
  const PlainDecoder reference(tiny_gqa());
  const auto loss = [&](const PlainDecoder& plain, const Sequence& ids) { return plain_kl(reference, plain, ids); };
  expect_all(c, result, full_gradients(c, sequences, 24 + 22 + 20, loss));
}

INSTANTIATE_TEST_SUITE_P(Quantizers, GradientPassOf, ::testing::Values("rtn", "clip"));

TEST(GradientPass, ScoresBlocksAndChannelsInTheOrderThatIsStored) {
  QuantizedCase c("clip", 9);
  c.draw_widths(1, 6, 1);
  const std::vector<Sequence> sequences = random_sequences(3, 24, 2);
  const PassResult result = gradient_pass(c.weights, sequences, reference_hidden(*c.dense, sequences), {});
  const PlainDecoder reference(tiny_gqa());
  const auto loss = [&](const PlainDecoder& plain, const Sequence& ids) { return plain_kl(reference, plain, ids); };
  expect_all(c, result, full_gradients(c, sequences, 24 + 22 + 20, loss));
}

TEST(GradientPass, CrossEntropyEqualsFullGradientsContractedByHand) {
  QuantizedCase c;
  c.draw_widths(1, 4, 3);
  const std::vector<Sequence> sequences = random_sequences(3, 24, 4);
  const PassResult result = gradient_pass(c.weights, sequences, {}, {.loss = LossKind::kCe});
  const auto loss = [](const PlainDecoder& plain, const Sequence& ids) {
    const auto n = static_cast<int64_t>(ids.size()) - 1;
    at::Tensor targets = at::empty({n, 1}, at::kLong);
    for (int64_t t = 0; t < n; ++t) targets.data_ptr<int64_t>()[t] = ids[static_cast<size_t>(t) + 1];
    return -at::log_softmax(plain.logits(ids).narrow(0, 0, n), -1).gather(1, targets).sum();
  };
  expect_all(c, result, full_gradients(c, sequences, 23 + 21 + 19, loss));
}

/// With one token a weight gradient is dy x^T, so |gradient|^2 = out_features * token weight * |x|^2; gate and up read
/// the same x and have equally many outputs.
TEST(GradientPass, TokenWeightsAreMeanSquaresOfOutputGradients) {
  QuantizedCase c;
  c.draw_widths(1, 4, 3);
  const std::vector<Sequence> sequences = {{17}, {99}};
  const TokenWeights weights = token_weights(c.weights, sequences, reference_hidden(*c.dense, sequences), {});
  const PlainDecoder reference(tiny_gqa());
  const auto loss = [&](const PlainDecoder& plain, const Sequence& ids) { return plain_kl(reference, plain, ids); };
  for (size_t s = 0; s < sequences.size(); ++s) {
    const FullGradients full = full_gradients(c, {sequences[s]}, 1, loss);
    for (size_t gate = 4; gate < c.layers.items.size(); gate += kProjections.size()) {
      ASSERT_EQ(c.layers.items[gate].slot, Proj::kGate);
      const at::Tensor of_gate = weights[gate][s], of_up = weights[gate + 1][s];
      ASSERT_EQ(of_gate.numel(), 1);
      const double expected = total(full.items[gate].g.square()) / total(full.items[gate + 1].g.square());
      EXPECT_NEAR(of_gate.item<double>() / of_up.item<double>(), expected, 4 * kGradient * expected);
    }
  }
}

TEST(GradientPass, AtFullPrecisionOnlyTheErrorsAreOfTheWidths) {
  QuantizedCase c, whole;
  c.draw_widths(1, 4, 3);
  whole.weights.set_uniform(0);
  const std::vector<Sequence> sequences = random_sequences(3, 20, 4);
  const PassOptions options{.loss = LossKind::kSampled, .full_precision = true};
  const PassResult result = gradient_pass(c.weights, sequences, {}, options);
  const PassResult expected = gradient_pass(whole.weights, sequences, {}, {.loss = LossKind::kSampled});
  EXPECT_EQ(result.loss, expected.loss);
  for (size_t i = 0; i < result.linears.size(); ++i) {
    EXPECT_EQ(result.linears[i].row_fisher, expected.linears[i].row_fisher);
    EXPECT_EQ(result.linears[i].col_fisher, expected.linears[i].col_fisher);
    for (const BlockSensitivity& block : result.linears[i].blocks) EXPECT_GT(block.err, 0);
  }
  EXPECT_EQ(token_weights(c.weights, sequences, {}, options)[0][0].sum().item<float>(),
            token_weights(whole.weights, sequences, {}, {.loss = LossKind::kSampled})[0][0].sum().item<float>());
}

TEST(SensitivityPass, TakesMovesFromTheLossAndCurvatureFromDrawnTargets) {
  QuantizedCase c;
  c.draw_widths(1, 4, 3);
  const std::vector<Sequence> sequences = random_sequences(3, 24, 2);
  const std::vector<at::Tensor> reference = reference_hidden(*c.dense, sequences);
  const PassResult both = sensitivity_pass(c.weights, sequences, reference, {.seed = 5}, 2);
  const PassResult kl = gradient_pass(c.weights, sequences, reference, {.seed = 5});
  const std::vector<Sequence> first(sequences.begin(), sequences.begin() + 2);
  const PassResult drawn = gradient_pass(c.weights, first, {}, {.loss = LossKind::kSampled, .seed = 5});
  EXPECT_EQ(both.loss, kl.loss);
  for (size_t i = 0; i < both.linears.size(); ++i) {
    EXPECT_EQ(both.linears[i].col_score, kl.linears[i].col_score);
    EXPECT_EQ(both.linears[i].col_fisher, drawn.linears[i].col_fisher);
    for (size_t b = 0; b < both.linears[i].blocks.size(); ++b) {
      const BlockSensitivity &s = both.linears[i].blocks[b], &g = kl.linears[i].blocks[b],
                             &f = drawn.linears[i].blocks[b];
      EXPECT_EQ(s.up, g.up);
      EXPECT_EQ(s.down, g.down);
      EXPECT_EQ(s.restore, g.restore);
      EXPECT_EQ(s.err, f.err);
      EXPECT_EQ(s.move_up, f.move_up);
      EXPECT_EQ(s.move_down, f.move_down);
      EXPECT_NE(g.fisher, f.fisher);
    }
  }
}

/// No autograd on either side of this one: the loss itself, moved a little towards Q_{b+1} in one block.
TEST(GradientPass, UpIsTheSlopeOfTheLossAlongTheMove) {
  QuantizedCase c;
  c.draw_widths(2, 3, 5);
  const std::vector<Sequence> sequences = random_sequences(2, 24, 6);
  const PassResult result = gradient_pass(c.weights, sequences, reference_hidden(*c.dense, sequences), {});
  const PlainDecoder reference(tiny_gqa());
  PlainDecoder plain = c.plain();
  const auto mean_kl = [&] {
    double nats = 0;
    for (const Sequence& ids : sequences) nats += plain_kl(reference, plain, ids).item<double>();
    return nats / (24 + 22);
  };
  double largest = 0, tolerance_of_largest = 0;
  for (const size_t item : {size_t{0}, size_t{4}, size_t{6}, size_t{9}, size_t{13}}) {
    const std::string& name = c.layers.items[item].name;
    const BlockGrid& grid = c.layers.items[item].grid;
    const at::Tensor at_b = c.moved(item, 0).to(at::kDouble), step = c.moved(item, 1).to(at::kDouble) - at_b;
    const int64_t block = grid.n_blocks() - 1;
    at::Tensor direction = at::zeros_like(step);
    block_of(direction, grid, block).copy_(block_of(step, grid, block));
    // Central difference: truncation ~ t^2 times a third derivative of the size of the loss, rounding ~ 1e-15 / t.
    const double t = 1e-4;
    plain.weights[name + ".weight"] = at_b + t * direction;
    const double above = mean_kl();
    plain.weights[name + ".weight"] = at_b - t * direction;
    const double below = mean_kl();
    plain.weights[name + ".weight"] = at_b;
    const double slope = (above - below) / (2 * t), up = result.linears[item].blocks[static_cast<size_t>(block)].up;
    // |g| of the whole matrix is not known here; the gradient of the mean KL is of the size of 0.1 in every matrix.
    const double tolerance = kGradient * frobenius(direction) + 1e-7;
    EXPECT_NEAR(up, slope, tolerance) << name;
    if (std::abs(up) > largest) largest = std::abs(up), tolerance_of_largest = tolerance;
  }
  EXPECT_GT(largest, 30 * tolerance_of_largest) << "nothing was compared";
}

/// E over drawn tokens of F = sum over positions and tokens v of p(v) (d log p(v) / dw)^2 / positions, because draws of
/// different positions are independent and each has mean gradient zero. 64 copies of one sequence are 64 draws.
TEST(GradientPass, SampledSquaresAreTheFisherInformationOnAverage) {
  QuantizedCase c;
  c.draw_widths(3, 3, 1);
  constexpr int64_t kLength = 3;
  const Sequence ids = {17, 99, 4};
  std::vector<double> exact(c.layers.items.size());
  PlainDecoder plain = c.plain();
  for (int64_t t = 0; t < kLength; ++t) {
    plain.track();
    const at::Tensor logp = at::log_softmax(plain.logits(ids)[t], 0), p = logp.detach().exp();
    for (int64_t v = 0; v < 128; ++v) {
      plain.clear_gradients();
      logp[v].backward({}, /*retain_graph=*/true);
      for (size_t i = 0; i < exact.size(); ++i) {
        exact[i] += p[v].item<double>() * total(plain.gradient(c.layers.items[i].name).square()) / kLength;
      }
    }
  }
  constexpr int kPasses = 16;
  std::vector<double> mean(exact.size()), square(exact.size());
  for (uint64_t pass = 0; pass < kPasses; ++pass) {
    const std::vector<Sequence> copies(64, ids);
    const PassResult result = gradient_pass(c.weights, copies, {}, {.loss = LossKind::kSampled, .seed = pass});
    for (size_t i = 0; i < exact.size(); ++i) {
      double fisher = 0;
      for (const BlockSensitivity& b : result.linears[i].blocks) fisher += b.fisher;
      mean[i] += fisher / kPasses;
      square[i] += fisher * fisher / kPasses;
    }
  }
  for (size_t i = 0; i < exact.size(); ++i) {
    const double standard_error = std::sqrt((square[i] - mean[i] * mean[i]) / (kPasses - 1));
    EXPECT_LT(standard_error, 0.1 * exact[i]) << "too few draws to tell";
    EXPECT_NEAR(mean[i], exact[i], 4.5 * standard_error) << c.layers.items[i].name;
  }
}

}  // namespace
}  // namespace scalebits::test
