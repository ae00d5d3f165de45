// SPDX-License-Identifier: Apache-2.0
// The transformer against an independent one in PyTorch: logits, losses and weight gradients.
#include "tests/model/golden.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "scalebits/io/json.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

/// The golden file tells how far a float32 run of the same equations is from its float64 values. Ours is another
/// float32 run, with other orders of summation and an f32 exp of its own: a few times that. A wrong eps, a rotation by
/// one position or a missing bias moves logits by 1e-2 and more (the checks below were seen to fail for each).
constexpr double kTimesFloat32 = 8.0;

double logit_tolerance(const GoldenFile& golden) { return kTimesFloat32 * golden.number("float32_logit_error"); }
double gradient_tolerance(const GoldenFile& golden) { return kTimesFloat32 * golden.number("float32_gradient_error"); }

double mean_nll(const ModelWeights& weights, const std::vector<Ids>& rows) {
  double sum = 0, n = 0;
  for (const Ids& ids : rows) {
    const at::Tensor nll = token_nll(logits_of(weights, ids), ids);
    sum += nll.sum().item<double>();
    n += static_cast<double>(nll.numel());
  }
  return sum / n;
}

void expect_sampled_logits(const ModelWeights& weights, const GoldenFile& golden) {
  const Ids ids = golden.sequences()[0];
  const at::Tensor logits = logits_of(weights, ids);
  const at::Tensor some = logits.index_select(0, golden["positions"]).index_select(1, golden["vocab_ids"]);
  const double tolerance = logit_tolerance(golden);
  EXPECT_LT(tolerance, 1e-4 * max_magnitude(golden["logits"]));
  EXPECT_LT(max_error(some, golden["logits"]), tolerance);
  // logsumexp is a mean of logits weighted by probabilities, so it errs by no more than they do.
  EXPECT_LT(max_error(at::logsumexp(logits, {1}), golden["logsumexp"][0]), tolerance);
  EXPECT_LT(max_error(token_nll(logits, ids), golden["token_nll"][0]), 2 * tolerance);
  EXPECT_NEAR(mean_nll(weights, {ids}), golden.number("loss"), 1e-5);
}

/// Norm of the whole gradient and 64 of its entries, for every linear layer.
void expect_sampled_gradients(const ModelWeights& weights, const GoldenFile& golden) {
  const auto gradients = weight_gradients(weights, golden.sequences());
  const double tolerance = gradient_tolerance(golden);
  ASSERT_LT(tolerance, 1e-3);
  ASSERT_EQ(golden.names("grad_norm.").size(), gradients.size());
  for (const auto& [name, gradient] : gradients) {
    const double size = golden["grad_norm." + name].item<double>();
    EXPECT_NEAR(frobenius(gradient), size, tolerance * size) << name;
    // An error of `tolerance` in the Frobenius norm bounds that of every entry.
    const at::Tensor entries = gradient.reshape({-1}).index_select(0, golden["grad_index." + name]);
    EXPECT_LT(max_error(entries, golden["grad_value." + name]), tolerance * size) << name;
  }
}

TEST(TinyGqa, LogitsEqualTheReference) {
  const auto weights = open_dense_model(tiny_gqa());
  const GoldenFile golden(tiny_gqa() / "golden.safetensors");
  const double tolerance = logit_tolerance(golden);
  ASSERT_LT(tolerance, 1e-4 * max_magnitude(golden["logits"]));
  const std::vector<Ids> rows = golden.sequences();
  ASSERT_EQ(rows.size(), 2U);
  for (size_t i = 0; i < rows.size(); ++i) {
    const at::Tensor logits = logits_of(*weights, rows[i]);
    EXPECT_LT(max_error(logits, golden["logits"][static_cast<int64_t>(i)]), tolerance);
    EXPECT_LT(max_error(token_nll(logits, rows[i]), golden["token_nll"][static_cast<int64_t>(i)]), 2 * tolerance);
  }
  EXPECT_NEAR(mean_nll(*weights, rows), golden.number("loss"), 1e-5);
}

TEST(TinyGqa, SequencesOfABatchDoNotMix) {
  const auto weights = open_dense_model(tiny_gqa());
  const GoldenFile golden(tiny_gqa() / "golden.safetensors");
  const std::vector<Ids> rows = golden.sequences();
  const at::NoGradGuard no_grad;
  const at::Tensor both = at::cat({weights->embed(rows[0]), weights->embed(rows[1])}, 0);
  const at::Tensor logits = weights->logits(weights->final_hidden(last_layer_output(*weights, both)));
  EXPECT_LT(max_error(logits, golden["logits"]), logit_tolerance(golden));
}

TEST(TinyGqa, EveryWeightGradientEqualsTheReference) {
  const auto weights = open_dense_model(tiny_gqa());
  const GoldenFile golden(tiny_gqa() / "golden.safetensors");
  const auto gradients = weight_gradients(*weights, golden.sequences());
  ASSERT_LT(gradient_tolerance(golden), 1e-3);
  size_t compared = 0;
  for (int l = 0; l < 2; ++l) {
    const GoldenFile layer(tiny_gqa() / fmt::format("golden-gradients-{}.safetensors", l));
    for (const std::string& name : layer.names("grad.")) {
      EXPECT_LT(relative_error(gradients.at(name), layer["grad." + name]), gradient_tolerance(golden)) << name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, gradients.size());
}

TEST(Demo, LogitsAndLossEqualTheReference) {
  expect_sampled_logits(*open_dense_model(demo_model()), GoldenFile(golden_dir() / "demo-5m.safetensors"));
}

TEST(Demo, WeightGradientsEqualTheReference) {
  expect_sampled_gradients(*open_dense_model(demo_model()), GoldenFile(golden_dir() / "demo-5m.safetensors"));
}

TEST(Stories260K, LogitsAndLossEqualTheReference) {
  SCALEBITS_NEEDS_SHARED_DATA();
  expect_sampled_logits(*open_dense_model(stories260k()), GoldenFile(golden_dir() / "stories260K.safetensors"));
}

TEST(Stories260K, WeightGradientsEqualTheReference) {
  SCALEBITS_NEEDS_SHARED_DATA();
  expect_sampled_gradients(*open_dense_model(stories260k()), GoldenFile(golden_dir() / "stories260K.safetensors"));
}

/// Numbers written by the code that trained the model, rounded to 5 decimals, fp32: 5e-6 of rounding, and the float32
/// error of either side (1.3e-5 is that of the golden file).
constexpr double kRecorded = 1e-4;

TEST(Demo, LossesAndLogitsEqualThoseOfTheTrainingCode) {
  const auto weights = open_dense_model(demo_model());
  const Json record = read_json(demo_model() / "reference.json");
  const Ids input = record.at("input").get<Ids>(), targets = record.at("ids").get<Ids>();
  Ids all = input;
  all.push_back(targets.back());
  const at::Tensor logits = logits_of(*weights, input);
  const at::Tensor nll = token_nll(at::cat({logits, logits.narrow(0, 0, 1)}, 0), all);
  const auto expected = record.at("nll").get<std::vector<double>>();
  ASSERT_EQ(nll.numel(), static_cast<int64_t>(expected.size()));
  for (size_t t = 0; t < expected.size(); ++t) {
    EXPECT_NEAR(nll[static_cast<int64_t>(t)].item<double>(), expected[t], kRecorded) << t;
  }
  EXPECT_NEAR(nll.mean().item<double>(), record.at("nll_mean").get<double>(), 1e-5);
  const at::Tensor last = logits[logits.size(0) - 1];
  const auto first8 = record.at("last_position_logits_first8").get<std::vector<double>>();
  for (size_t i = 0; i < first8.size(); ++i) {
    EXPECT_NEAR(last[static_cast<int64_t>(i)].item<double>(), first8[i], kRecorded);
  }
  for (const Json& entry : record.at("last_position_top8")) {
    EXPECT_NEAR(last[entry[0].get<int64_t>()].item<double>(), entry[1].get<double>(), kRecorded);
  }
}

TEST(Demo, GreedyContinuationEqualsThatOfTheTrainingCode) {
  const auto weights = open_dense_model(demo_model());
  const Json record = read_json(demo_model() / "reference.json");
  Ids ids = record.at("greedy_prompt_ids").get<Ids>();
  const auto expected = record.at("greedy_continuation_32").get<Ids>();
  Ids continuation;
  for (size_t i = 0; i < expected.size(); ++i) {
    const at::Tensor logits = logits_of(*weights, ids);
    continuation.push_back(static_cast<TokenId>(logits[logits.size(0) - 1].argmax().item<int64_t>()));
    ids.push_back(continuation.back());
  }
  EXPECT_EQ(continuation, expected);
}

}  // namespace
}  // namespace scalebits::test
