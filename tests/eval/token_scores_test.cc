// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/token_scores.h"

#include <cmath>

#include "scalebits/io/json.h"
#include "tests/model/golden.h"

namespace scalebits {
namespace {

at::Tensor matrix(const std::vector<std::vector<double>>& rows) {
  at::Tensor m = at::empty({static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())}, at::kFloat);
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < rows[i].size(); ++j) {
      m.data_ptr<float>()[i * rows[i].size() + j] = static_cast<float>(rows[i][j]);
    }
  }
  return m;
}

/// How far a score may be off: exponentials of x = logit - top, |x| <= range, are within 1 ulp of those of the rounded
/// difference, so relatively within 2^-23 + range * 2^-24, and so is their sum; a score has two such logarithms.
double score_bound(double range) { return 2 * (0x1p-23 + range * 0x1p-24) + 1e-12; }

TEST(TokenNll, EqualsTheHandComputedLogarithms) {
  // Probabilities 1/7, 2/7, 4/7, at any offset of the logits.
  for (const double offset : {0.0, -50.0, 64.0}) {
    const at::Tensor logits = matrix({{offset, offset + std::log(2.0), offset + std::log(4.0)},
                                      {offset, offset + std::log(2.0), offset + std::log(4.0)},
                                      {offset, offset, offset}});
    const std::vector<int32_t> targets = {0, 2, 1};
    std::vector<double> nll(3);
    token_nll(logits, targets, nll);
    // Storing offset + log 4 as a float moves it by up to half an ulp of 64.
    const double bound = score_bound(2) + 2 * 0x1p-18;
    EXPECT_NEAR(nll[0], 1.9459101490553132, bound);  // log 7
    EXPECT_NEAR(nll[1], 0.5596157879354227, bound);  // log 7/4
    EXPECT_NEAR(nll[2], 1.0986122886681098, bound);  // log 3
  }
}

TEST(TokenNll, SurvivesLogitsWhoseExponentialOverflows) {
  const at::Tensor logits = matrix({{1000, 0, -1000}, {-1000, -1000, -1001}});
  const std::vector<int32_t> targets = {1, 2};
  std::vector<double> nll(2);
  token_nll(logits, targets, nll);
  EXPECT_DOUBLE_EQ(nll[0], 1000);
  EXPECT_NEAR(nll[1], 1 + std::log(2 + std::exp(-1.0)), score_bound(1));
}

TEST(TokenDivergence, EqualsTheGoldenCase) {
  const Json golden = read_json(test::golden_dir() / "kl_case.json");
  const at::Tensor ref = matrix(golden["reference_logits"].get<std::vector<std::vector<double>>>());
  const at::Tensor model = matrix(golden["logits"].get<std::vector<std::vector<double>>>());
  const auto expected = golden["kl_per_token"].get<std::vector<double>>();
  std::vector<TokenDivergence> got(3);
  token_divergence(ref, model, std::vector<int32_t>{0, 1, 2}, got);
  for (size_t i = 0; i < 3; ++i) {
    // The middle row's logits differ by a constant: no divergence. Logits of row 2 span 11, ref - model up to 2, and
    // the stored inputs are off by half an ulp of 2 at most (row 0), which enters KL once.
    EXPECT_NEAR(got[i].kl, expected[i], 4 * score_bound(11)) << i;
  }
  EXPECT_TRUE(got[0].same_top);  // all of the model's are equal: the lowest id counts
  EXPECT_TRUE(got[1].same_top);
  EXPECT_FALSE(got[2].same_top);
  EXPECT_NEAR(got[0].nll_ref, std::log(2.0), score_bound(3));  // p = 1/2
  EXPECT_NEAR(got[0].nll, std::log(5.0), score_bound(1));
}

TEST(TokenDivergence, GoesFromTheReferenceToTheModel) {
  // ref (1/2, 1/2), model (1/4, 3/4): sum 1/2 log(1/2 / 1/4) + 1/2 log(1/2 / 3/4) = 1/2 log 4/3. The other direction
  // would be 1/4 log 1/2 + 3/4 log 3/2 = 0.1308.
  std::vector<TokenDivergence> got(1);
  token_divergence(matrix({{0, 0}}), matrix({{0, std::log(3.0)}}), std::vector<int32_t>{0}, got);
  EXPECT_NEAR(got[0].kl, 0.14384103622589042, 2 * score_bound(2));
}

TEST(TokenDivergence, OfEqualLogitsIsExactlyZero) {
  const at::Tensor logits = 5 * test::random_normal({64, 1000}, 1);
  std::vector<TokenDivergence> got(64);
  token_divergence(logits, logits.clone(), std::vector<int32_t>(64, 7), got);
  for (const TokenDivergence& t : got) {
    EXPECT_EQ(t.kl, 0.0);
    EXPECT_TRUE(t.same_top);
    EXPECT_EQ(t.nll, t.nll_ref);
  }
}

TEST(TokenDivergence, ResolvesSmallDifferences) {
  const at::Tensor ref = 3 * test::random_normal({32, 4096}, 2);
  const at::Tensor model = ref + 0.01 * test::random_normal({32, 4096}, 3);  // KL about 5e-5
  std::vector<TokenDivergence> got(32);
  token_divergence(ref, model, std::vector<int32_t>(32, 0), got);
  const at::Tensor lp = at::log_softmax(ref.to(at::kDouble), -1), lq = at::log_softmax(model.to(at::kDouble), -1);
  const at::Tensor kl = (lp.exp() * (lp - lq)).sum(-1);
  for (int64_t i = 0; i < 32; ++i) {
    const double expected = kl.data_ptr<double>()[i];
    EXPECT_GT(expected, 1e-5);
    // The bound is the worst case, every rounding in one direction; errors of thousands of exponentials cancel.
    EXPECT_NEAR(got[static_cast<size_t>(i)].kl, expected, score_bound(30));
  }
}

TEST(LogitRows, FewForLargeVocabularies) {
  EXPECT_EQ(logit_rows_at_once(1 << 20), 16);
  EXPECT_EQ(logit_rows_at_once(128256), 32);
  EXPECT_EQ(logit_rows_at_once(512), 512);
}

}  // namespace
}  // namespace scalebits
