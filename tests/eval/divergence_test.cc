// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/divergence.h"

#include <cmath>
#include <limits>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

TEST(Percentile, InterpolatesBetweenNeighbours) {
  const std::vector<double> sorted = {1, 2, 4, 8, 16};
  EXPECT_DOUBLE_EQ(percentile(sorted, 0), 1);
  EXPECT_DOUBLE_EQ(percentile(sorted, 0.5), 4);
  EXPECT_DOUBLE_EQ(percentile(sorted, 0.9), 8 + 0.6 * 8);  // at position 3.6; numpy.percentile gives 12.8
  EXPECT_DOUBLE_EQ(percentile(sorted, 1), 16);
  EXPECT_DOUBLE_EQ(percentile(std::vector<double>{3}, 0.99), 3);
}

TEST(DivergenceOf, HandComputedNumbers) {
  const std::vector<TokenDivergence> tokens = {{.kl = 0.3, .nll_ref = 1, .nll = 2, .same_top = true},
                                               {.kl = 0.1, .nll_ref = 2, .nll = 2, .same_top = false},
                                               {.kl = 0.2, .nll_ref = 3, .nll = 5, .same_top = true}};
  const Divergence d = divergence_of(tokens);
  EXPECT_DOUBLE_EQ(d.mean, 0.2);
  EXPECT_NEAR(d.standard_error, std::sqrt(0.02 / 3 / 2), 1e-15);
  EXPECT_NEAR(d.p90, 0.28, 1e-15);
  EXPECT_DOUBLE_EQ(d.max, 0.3);
  EXPECT_DOUBLE_EQ(d.same_top, 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(d.reference.value, std::exp(2.0));
  EXPECT_DOUBLE_EQ(d.model.value, std::exp(3.0));
}

TEST(DivergenceOf, DeltaPIsTheDifferenceOfTheTokensProbabilities) {
  const double half = std::log(2.0), quarter = std::log(4.0), tenth = std::log(10.0);
  // 0.5 - 0.25, 0.25 - 0.5, 0.5 - 0.1: squares 0.0625, 0.0625, 0.16; fourth powers 0.00390625, 0.00390625, 0.0256.
  const std::vector<TokenDivergence> tokens = {
      {.nll_ref = quarter, .nll = half}, {.nll_ref = half, .nll = quarter}, {.nll_ref = tenth, .nll = half}};
  const Divergence d = divergence_of(tokens);
  EXPECT_NEAR(d.mean_delta_p, 0.4 / 3, 1e-15);
  EXPECT_NEAR(d.rms_delta_p, std::sqrt(0.095), 1e-15);
  EXPECT_NEAR(d.rms_delta_p_standard_error, std::sqrt((0.0334125 / 3 - 0.095 * 0.095) / 2) / (2 * std::sqrt(0.095)),
              1e-15);
}

TEST(DivergenceOf, NamesTheFirstTokenThatIsNotFinite) {
  const std::vector<TokenDivergence> tokens = {{}, {}, {.kl = std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_THAT(error_text<Error>([&] { divergence_of(tokens); }), HasSubstr("token 2: got nan"));
}

WindowSet two_windows() {
  WindowSet set;
  set.options.seqlen = 9;
  for (const uint64_t seed : {1, 2}) {
    Rng rng(seed);
    Window window;
    for (int t = 0; t < 10; ++t) window.ids.push_back(static_cast<TokenId>(rng.below(128)));
    window.first_target = 3;
    set.windows.push_back(window);
    set.predicted += window.predicted();
  }
  return set;
}

/// Mean KL from logits of whole sequences in f64.
double direct_kl(const ModelWeights& model, const ModelWeights& reference, const WindowSet& set) {
  double sum = 0;
  for (const Window& w : set.windows) {
    const std::vector<Sequence> one = {w.ids};
    const auto log_p = [&](const ModelWeights& m) {
      return at::log_softmax(m.logits(reference_hidden(m, one)[0]).to(at::kDouble), -1);
    };
    const at::Tensor p = log_p(reference), q = log_p(model);
    sum += (p.exp() * (p - q)).narrow(0, w.first_target - 1, w.predicted()).sum().item<double>();
  }
  return sum / static_cast<double>(set.predicted);
}

TEST(MeasureDivergence, EqualsTheDirectSumOverWholeLogits) {
  const test::TempDir dir;
  test::copy_model(test::tiny_gqa(), dir / "other", [](auto& tensors) {
    at::Tensor& w = tensors.at("model.layers.1.mlp.up_proj.weight");
    w = w + 0.2 * test::random_normal(w.sizes(), 5);
    at::Tensor& head = tensors.at("lm_head.weight");
    head = head + 0.01 * test::random_normal(head.sizes(), 6);
  });
  const auto reference = open_model(test::tiny_gqa()), model = open_model(dir / "other");
  const WindowSet set = two_windows();
  const Divergence d = measure_divergence(*model, *reference, set, silent_log());
  const double expected = direct_kl(*model, *reference, set), reverse = direct_kl(*reference, *model, set);
  ASSERT_GT(expected, 1e-3);
  // As in token_scores_test.cc, logits here span less than 30; the last token is read in one case and not in the other,
  // which moves logits by float roundings.
  EXPECT_NEAR(d.mean, expected, 1e-5);
  EXPECT_GT(std::abs(reverse - expected), 1e-4) << "the two directions cannot be told apart";
  EXPECT_EQ(d.model.tokens, set.predicted);
  EXPECT_EQ(d.model.nll, measure_perplexity(*model, set, silent_log()).nll);
  EXPECT_EQ(d.reference.nll, measure_perplexity(*reference, set, silent_log()).nll);
}

TEST(MeasureDivergence, OfAModelFromItselfIsZero) {
  const auto model = open_model(test::tiny_gqa()), same = open_model(test::tiny_gqa());
  const Divergence d = measure_divergence(*model, *same, two_windows(), silent_log());
  EXPECT_EQ(d.mean, 0);
  EXPECT_EQ(d.max, 0);
  EXPECT_EQ(d.rms_delta_p, 0);
  EXPECT_EQ(d.rms_delta_p_standard_error, 0);
  EXPECT_EQ(d.same_top, 1);
}

TEST(CheckComparable, RefusesAnotherTokenizerOrVocabulary) {
  const test::TempDir dir;
  for (const char* name : {"a", "b"}) {
    test::copy_model(test::tiny_gqa(), dir / name, [](auto&) {});
    std::ofstream(dir / name / "tokenizer.json") << name;
  }
  const auto a = open_model(dir / "a"), b = open_model(dir / "b"), demo = open_model(test::demo_model());
  check_comparable(*a, *a);
  EXPECT_THAT(error_text<InvalidArgument>([&] { check_comparable(*a, *b); }), HasSubstr("[--ref] tokenizer: got"));
  EXPECT_THAT(error_text<InvalidArgument>([&] { check_comparable(*a, *demo); }),
              HasSubstr("vocab_size: got 4096, expected 128"));
}

}  // namespace
}  // namespace scalebits
