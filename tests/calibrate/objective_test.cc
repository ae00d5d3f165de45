// SPDX-License-Identifier: Apache-2.0
// Losses and their gradients against float64 formulas, and the distribution of the sampled loss's tokens.
#include "scalebits/calibrate/objective.h"

#include <gtest/gtest.h>

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/io/json.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

at::Tensor matrix(const Json& rows) {
  at::Tensor m = at::empty({static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())}, at::kDouble);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < rows[r].size(); ++c) {
      m[static_cast<int64_t>(r)][static_cast<int64_t>(c)] = rows[r][c].get<double>();
    }
  }
  return m;
}

/// Logits up to 101 are stored as f32, half a unit there being 3.8e-6, and log-softmax subtracts numbers of that size:
/// each log-probability errs by less than 3 * 2^-24 * 101, and KL is an average of differences of two.
constexpr double kLargeLogits = 6 * 101 * 0x1p-24;

TEST(KlDivergence, EqualsTheGoldenCase) {
  init_torch();
  const Json golden = read_json(golden_dir() / "kl_case.json");
  const at::Tensor ref = matrix(golden.at("reference_logits")).to(at::kFloat);
  const at::Tensor q = matrix(golden.at("logits")).to(at::kFloat);
  const auto expected = golden.at("kl_per_token").get<std::vector<double>>();
  double sum = 0;
  for (int64_t r = 0; r < 3; ++r) {
    const double tolerance = r == 2 ? kLargeLogits : 6 * 5 * 0x1p-24;
    EXPECT_NEAR(kl_divergence(ref.narrow(0, r, 1), q.narrow(0, r, 1), nullptr), expected[static_cast<size_t>(r)],
                tolerance);
    sum += expected[static_cast<size_t>(r)];
  }
  at::Tensor dq;
  EXPECT_NEAR(kl_divergence(ref, q, &dq), sum, kLargeLogits);
  EXPECT_LT(max_error(dq / 3, matrix(golden.at("mean_kl_gradient"))), kLargeLogits);
}

TEST(KlDivergence, IsNotSymmetric) {
  init_torch();
  // p = (1/2, 1/4, 1/8, 1/16, 1/16), u uniform: KL(u || p) = 14/5 log 2 - log 5; the golden case is KL(p || u).
  const at::Tensor p =
      matrix(read_json(golden_dir() / "kl_case.json").at("reference_logits")).narrow(0, 0, 1).to(at::kFloat);
  EXPECT_NEAR(kl_divergence(at::zeros({1, 5}), p, nullptr), 2.8 * std::log(2.0) - std::log(5.0), 1e-6);
}

TEST(ParseLoss, KnowsItsNames) {
  EXPECT_EQ(parse_loss("kl"), LossKind::kKl);
  EXPECT_EQ(parse_loss("ce"), LossKind::kCe);
  EXPECT_THAT(error_text<InvalidArgument>([] { parse_loss("mse"); }),
              AllOf(HasSubstr("mse"), HasSubstr("kl"), HasSubstr("ce")));
}

/// Hidden states of many positions (more than are taken at once, 512) with tiny-gqa's head, V = 128.
class SequenceLossOf : public ::testing::Test {
 protected:
  static constexpr int64_t kLength = 1100;
  SequenceLossOf() {
    for (int64_t t = 0; t < kLength; ++t) ids_.push_back(static_cast<TokenId>((t * 37 + t / 5) % 128));
  }
  [[nodiscard]] at::Tensor logits(const at::Tensor& hidden) const {
    return at::matmul(hidden, weights_->head().to(at::kDouble).t());
  }
  [[nodiscard]] at::Tensor targets() const {
    at::Tensor t = at::empty({kLength - 1, 1}, at::kLong);
    for (int64_t i = 0; i + 1 < kLength; ++i) t.data_ptr<int64_t>()[i] = ids_[static_cast<size_t>(i + 1)];
    return t;
  }
  /// Compares sum and gradient with `exact` (of f64 hidden states). Logits are sums of 64 products of size up to 3,
  /// whose rounding is below 64 * 2^-24 * 3 in the worst case and about 2^-24 * 3 * 8 in fact; both losses are averages
  /// of differences of them, and the gradient is the head times probabilities, at most 1 in sum, times that.
  void compare(LossKind kind, int64_t positions, const std::function<at::Tensor(const at::Tensor&)>& exact) {
    const at::Tensor leaf = hidden_.to(at::kDouble).requires_grad_(true);
    const at::Tensor expected = exact(leaf);
    expected.backward();
    at::Tensor dhidden;
    const SequenceLoss loss = sequence_loss(kind, *weights_, hidden_, reference_, ids_, &dhidden);
    EXPECT_EQ(loss.positions, positions);
    const double per_position = 64 * 3 * 0x1p-24;
    EXPECT_NEAR(loss.nats / static_cast<double>(positions), expected.item<double>() / static_cast<double>(positions),
                per_position);
    EXPECT_LT(max_error(dhidden, leaf.grad()), 4 * per_position * max_magnitude(weights_->head()));
    EXPECT_GT(max_magnitude(leaf.grad()), 0.1);
    const SequenceLoss plain = sequence_loss(kind, *weights_, hidden_, reference_, ids_, nullptr);
    EXPECT_EQ(plain.nats, loss.nats);
  }

  std::unique_ptr<DenseWeights> weights_ = open_dense_model(tiny_gqa());
  const at::Tensor hidden_ = random_normal({kLength, 64}, 1), reference_ = random_normal({kLength, 64}, 2);
  std::vector<TokenId> ids_;
};

TEST_F(SequenceLossOf, KlEqualsItsFormulaAndGradient) {
  compare(LossKind::kKl, kLength, [&](const at::Tensor& h) {
    const at::Tensor log_p = at::log_softmax(logits(reference_.to(at::kDouble)), -1);
    return (log_p.exp() * (log_p - at::log_softmax(logits(h), -1))).sum();
  });
}

TEST_F(SequenceLossOf, CrossEntropyEqualsItsFormulaAndGradient) {
  compare(LossKind::kCe, kLength - 1, [&](const at::Tensor& h) {
    return -at::log_softmax(logits(h.narrow(0, 0, kLength - 1)), -1).gather(1, targets()).sum();
  });
}

TEST_F(SequenceLossOf, CrossEntropyHasNoGradientAtTheLastPosition) {
  at::Tensor dhidden;
  sequence_loss(LossKind::kCe, *weights_, hidden_, {}, ids_, &dhidden);
  EXPECT_EQ(max_magnitude(dhidden[kLength - 1]), 0.0);
  EXPECT_GT(max_magnitude(dhidden[kLength - 2]), 0.0);
}

TEST_F(SequenceLossOf, KlOfAModelWithItselfIsZero) {
  at::Tensor dhidden;
  const SequenceLoss loss = sequence_loss(LossKind::kKl, *weights_, hidden_, hidden_, ids_, &dhidden);
  EXPECT_EQ(loss.nats, 0.0);
  EXPECT_EQ(max_magnitude(dhidden), 0.0);
}

/// Through float64 operations and libtorch's autograd; the cap of 3 takes a good part off this model's logits.
TEST(SequenceLoss, GradientGoesThroughTheCapOfTheLogits) {
  const auto weights = open_dense_model(golden_dir() / "families/gemma2");
  const double cap = weights->config().logit_cap;
  ASSERT_EQ(cap, 3.0);
  const std::vector<TokenId> ids = {3, 1, 4, 1, 5};
  const at::Tensor hidden = random_normal({5, weights->config().d_model}, 1);
  const at::Tensor leaf = hidden.to(at::kDouble).requires_grad_(true);
  const at::Tensor logits = at::tanh(at::matmul(leaf, weights->head().to(at::kDouble).t()) / cap) * cap;
  ASSERT_GT(max_magnitude(logits), 2.0);
  const at::Tensor loss = token_nll(logits, ids).sum();
  loss.backward();
  at::Tensor dhidden;
  const SequenceLoss got = sequence_loss(LossKind::kCe, *weights, hidden, {}, ids, &dhidden);
  // Sums of 96 products, and a tanh: some dozens of roundings of 2^-24.
  EXPECT_NEAR(got.nats, loss.item<double>(), 1e-5 * loss.item<double>());
  EXPECT_LT(max_error(dhidden, leaf.grad()), 1e-5 * max_magnitude(leaf.grad()));
}

/// A model that is nothing but a head of 8 unit vectors, so that dhidden = softmax(hidden) - onehot(drawn token).
class SampledLoss : public ::testing::Test {
 protected:
  static constexpr int64_t kLength = 4000;
  SampledLoss() {
    const std::string config = R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":8,
        "intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":8,
        "max_position_embeddings":8,"rms_norm_eps":1e-5,"rope_theta":10000.0,"hidden_act":"silu",
        "tie_word_embeddings":false})";
    write_model(dir_.path(), config, {{"model.norm.weight", at::ones({8})}, {"lm_head.weight", at::eye(8)}});
    weights_ = open_dense_model(dir_.path());
    for (int64_t v = 0; v < 8; ++v) logits_[v] = kLogits[v];
  }
  /// The tokens that one call draws for kLength positions of the same distribution.
  at::Tensor draws(uint64_t seed) {
    const at::Tensor hidden = logits_.unsqueeze(0).repeat({kLength, 1});
    const std::vector<TokenId> ids(kLength, 0);
    at::Tensor dhidden;
    const SequenceLoss loss = sequence_loss(LossKind::kSampled, *weights_, hidden, {}, ids, &dhidden, seed);
    EXPECT_EQ(loss.positions, kLength);
    const at::Tensor tokens = dhidden.argmin(1);
    // The loss is that of these tokens.
    const at::Tensor logp = at::log_softmax(logits_.to(at::kDouble), 0);
    EXPECT_NEAR(loss.nats, -logp.index_select(0, tokens).sum().item<double>(), kLength * 16 * 0x1p-24);
    return tokens;
  }

  static constexpr double kLogits[8] = {1.0, 0.0, 2.0, -1.0, 0.5, -2.0, 1.5, -0.5};
  TempDir dir_;
  std::unique_ptr<DenseWeights> weights_;
  at::Tensor logits_ = at::zeros({8});
};

TEST_F(SampledLoss, DrawsFollowTheDistribution) {
  const at::Tensor p = at::softmax(logits_.to(at::kDouble), 0);
  const at::Tensor count = at::bincount(draws(1), {}, 8).to(at::kDouble);
  const double chi2 = ((count - kLength * p).square() / (kLength * p)).sum().item<double>();
  EXPECT_LT(chi2, 24.3);  // 7 degrees of freedom, exceeded once in a thousand seeds; this seed is fixed
  // And the test can tell: the counts do not fit the uniform distribution.
  EXPECT_GT(((count - 500).square() / 500).sum().item<double>(), 240.0);
}

TEST_F(SampledLoss, DrawsAreRepeatableAndDifferBySeedAndPosition) {
  const at::Tensor first = draws(1);
  EXPECT_TRUE(at::equal(first, draws(1)));
  EXPECT_FALSE(at::equal(first, draws(2)));
  // Positions are taken 512 at a time; the stream goes on from one piece to the next.
  EXPECT_FALSE(at::equal(first.narrow(0, 0, 512), first.narrow(0, 512, 512)));
}

}  // namespace
}  // namespace scalebits::test
