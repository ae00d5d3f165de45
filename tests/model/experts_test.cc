// SPDX-License-Identifier: Apache-2.0
// Mixtures of experts against Hugging Face transformers (tools/golden/moe_golden.py), and what is refused.
#include "scalebits/model/experts.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// As in golden_test.cc: ours is another float32 run, a few times as far from float64 as the one that was measured.
constexpr double kTimesFloat32 = 8.0;

class MoeGolden : public ::testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] static std::filesystem::path dir() { return golden_dir() / "moe" / GetParam(); }
  const ModelConfig config_ = read_hf_config(dir());
  const GoldenFile golden_{dir() / "golden.safetensors"};
};
INSTANTIATE_TEST_SUITE_P(Model, MoeGolden, ::testing::Values("mixtral", "qwen3_moe"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(MoeGolden, LogitsAndLossesEqualThoseOfTransformers) {
  const auto weights = open_dense_model(dir());
  const double tolerance = kTimesFloat32 * golden_.number("float32_logit_error");
  ASSERT_LT(tolerance, 1e-4 * max_magnitude(golden_["logits"]));
  const std::vector<Ids> rows = golden_.sequences();
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const at::Tensor logits = logits_of(*weights, rows[i]);
    EXPECT_LT(max_error(logits, golden_["logits"][row]), tolerance);
    EXPECT_LT(max_error(token_nll(logits, rows[i]), golden_["token_nll"][row]), 2 * tolerance);
  }
}

/// Through the routing weights too: what lies before the experts has gradients by way of the router.
TEST_P(MoeGolden, WeightGradientsEqualThoseOfTransformers) {
  const auto gradients = weight_gradients(*open_dense_model(dir()), golden_.sequences());
  const double tolerance = kTimesFloat32 * golden_.number("float32_gradient_error");
  ASSERT_LT(tolerance, 1e-3);
  const std::vector<std::string> names = golden_.names("grad_norm.");
  ASSERT_EQ(names.size(), slots(config_, 0).size() + slots(config_, 1).size());
  for (const std::string& name : names) {
    const double size = golden_["grad_norm." + name].item<double>();
    const auto found = gradients.find(name);
    if (size == 0) continue;  // no token goes there
    ASSERT_NE(found, gradients.end()) << name;
    EXPECT_NEAR(frobenius(found->second), size, tolerance * size) << name;
    const at::Tensor entries = found->second.reshape({-1}).index_select(0, golden_["grad_index." + name]);
    EXPECT_LT(max_error(entries, golden_["grad_value." + name]), tolerance * size) << name;
  }
}

/// What tokens that are not routed to an expert teach it is nobody else's business.
TEST_P(MoeGolden, EveryExpertSeesEveryTokenAndNothingElseChanges) {
  const auto weights = open_dense_model(dir());
  const Ids ids = golden_.sequences()[0];
  const RopeTable rope(config_, static_cast<int64_t>(ids.size()));
  const DecoderLayer layer = weights->layer(1);
  const at::Tensor dy = random_normal({1, static_cast<int64_t>(ids.size()), config_.d_model}, 3);
  LayerTaps routed, every;
  every.every_expert = true;
  at::Tensor y[2], dx[2];
  for (int i = 0; i < 2; ++i) {
    const at::Tensor x = weights->embed(ids).requires_grad_(true);
    y[i] = decoder_layer_forward(config_, layer, rope, x, 0, nullptr, i == 0 ? &routed : &every);
    y[i].backward(dy);
    dx[i] = x.grad();
  }
  // Rows of a product may be summed in another order when there are more of them.
  EXPECT_LT(max_error(y[1].detach(), y[0].detach()), 1e-5);
  EXPECT_LT(relative_error(dx[1], dx[0]), 1e-5);
  EXPECT_LT(relative_error(every[Proj::kQ].dy, routed[Proj::kQ].dy), 1e-5);
  for (int64_t e = 0; e < config_.experts.n_experts; ++e) {
    const Slot down(Proj::kDown, e);
    const at::Tensor tokens = tokens_of(routed.chosen, e);
    ASSERT_EQ(every[down].dy.size(0), static_cast<int64_t>(ids.size()));
    EXPECT_GT(every[down].dy.abs().amin(1).max().item<float>(), 0);
    if (tokens.numel() == 0) continue;
    EXPECT_LT(relative_error(every[down].dy.index_select(0, tokens), routed[down].dy), 1e-5) << e;
  }
}

Permutation shuffled(int64_t n, Rng& rng) {
  Permutation perm = identity_permutation(n);
  for (size_t i = perm.size(); i > 1; --i) std::swap(perm[i - 1], perm[rng.below(i)]);
  return perm;
}

TEST_P(MoeGolden, FoldedOrdersLeaveTheLogits) {
  Rng rng(5);
  FoldedOrder order;
  order.residual = shuffled(config_.d_model, rng);
  for (int64_t l = 0; l < config_.n_layers; ++l) {
    FoldedOrder::Layer layer;
    if (!config_.has_experts(l)) layer.mlp = shuffled(config_.d_ff, rng);
    for (int64_t e = 0; config_.has_experts(l) && e < config_.experts.n_experts; ++e) {
      layer.experts.push_back(shuffled(config_.experts.d_ff, rng));
    }
    order.layers.push_back(layer);
  }
  const DenseWeights folded(std::make_shared<Checkpoint>(dir()), config_, order);
  const double tolerance = kTimesFloat32 * golden_.number("float32_logit_error");
  EXPECT_LT(max_error(logits_of(folded, golden_.sequences()[0]), golden_["logits"][0]), tolerance);
}

TEST(Experts, OrdersThatDoNotFitAreRefused) {
  const ModelConfig config = read_hf_config(golden_dir() / "moe/mixtral");
  const auto refusal = [&](const std::function<void(FoldedOrder::Layer&)>& change) {
    FoldedOrder order;
    order.layers.resize(2);
    change(order.layers[1]);
    return error_text<FormatError>([&] { check_folded_order(config, order); });
  };
  EXPECT_THAT(refusal([](auto& l) { l.mlp = identity_permutation(24); }), HasSubstr("this layer's MLP is a mixture"));
  EXPECT_THAT(refusal([](auto& l) { l.experts = {identity_permutation(24)}; }), HasSubstr("got 1 experts, expected 8"));
  EXPECT_THAT(refusal([](auto& l) { l.experts.assign(8, identity_permutation(23)); }),
              HasSubstr("expert order of layer 1"));
}

TEST(Experts, LargestLogitsAreChosenAndOfEqualsTheFirst) {
  std::vector<int32_t> chosen(3);
  choose_experts(std::vector<float>{1, 3, 2, 3, 0, 2}, chosen);
  EXPECT_THAT(chosen, ElementsAre(1, 3, 2));
  chosen.resize(1);
  choose_experts(std::vector<float>{-5, -5}, chosen);
  EXPECT_THAT(chosen, ElementsAre(0));
}

TEST(Experts, WeightsAreProbabilitiesDividedByTheirSumWhereTheConfigSaysSo) {
  const float three = std::log(3.0F);
  const std::vector<float> logits = {0, three, 0};  // probabilities 0.2, 0.6, 0.2
  std::vector<float> weights(2);
  ExpertConfig config;
  weigh_experts(config, logits, std::vector<int32_t>{1, 0}, weights);
  EXPECT_NEAR(weights[0], 0.6, 1e-6);
  EXPECT_NEAR(weights[1], 0.2, 1e-6);
  config.normalize = true;
  weigh_experts(config, logits, std::vector<int32_t>{1, 0}, weights);
  EXPECT_NEAR(weights[0], 0.75, 1e-6);
  EXPECT_NEAR(weights[1], 0.25, 1e-6);
}

/// Opens a copy of the Mixtral after a change of its tensors.
template <class E>
std::string refusal_of(const std::function<void(std::map<std::string, at::Tensor>&)>& change) {
  const TempDir dir;
  copy_model(golden_dir() / "moe/mixtral", dir.path(), change);
  return error_text<E>([&] { (void)open_dense_model(dir.path())->layer(1); });
}

TEST(Experts, TensorsThatDoNotFitTheConfigAreRefused) {
  const std::string block = "model.layers.1.block_sparse_moe.";
  EXPECT_THAT(refusal_of<FormatError>([&](auto& t) { t.erase(block + "experts.7.w2.weight"); }),
              AllOf(HasSubstr("experts.7.w2.weight"), HasSubstr("missing")));
  EXPECT_THAT(
      refusal_of<FormatError>([&](auto& t) { t[block + "experts.8.w1.weight"] = t.at(block + "experts.7.w1.weight"); }),
      AllOf(HasSubstr("experts.8.w1.weight"), HasSubstr("expected 8 experts")));
  EXPECT_THAT(refusal_of<Unsupported>([&](auto& t) {
                t[block + "experts.gate_up_proj"] = at::zeros({8, 48, 48});
              }),
              AllOf(HasSubstr("experts.gate_up_proj"), HasSubstr("expected one for each")));
  EXPECT_THAT(refusal_of<FormatError>([&](auto& t) {
                t.at(block + "gate.weight") = at::zeros({6, 48});
              }),
              HasSubstr(block + "gate.weight"));
  EXPECT_THAT(error_text<Error>([&] {
                const TempDir dir;
                copy_model(golden_dir() / "moe/mixtral", dir.path(),
                           [&](auto& t) { t.at(block + "gate.weight").fill_(3e38F); });
                (void)logits_of(*open_dense_model(dir.path()), {1, 2, 3});
              }),
              HasSubstr("[router] logits of token"));
}

}  // namespace
}  // namespace scalebits::test
