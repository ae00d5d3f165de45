// SPDX-License-Identifier: Apache-2.0
// Weights handed out from checkpoints: what is refused, what is shared, and how close bf16 compute is.
#include "scalebits/model/weights.h"

#include <gtest/gtest.h>

#include <cmath>

#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Weights, RefuseATokenIdOutsideTheVocabulary) {
  const auto weights = open_dense_model(tiny_gqa());
  for (const TokenId bad : {128, -1, 1 << 30}) {
    const std::string text = error_text<InvalidArgument>([&] { (void)weights->embed(Ids{5, bad}); });
    EXPECT_THAT(text, AllOf(HasSubstr("got " + std::to_string(bad)), HasSubstr("expected 0..127")));
  }
  EXPECT_NO_THROW((void)weights->embed(Ids{0, 127}));
}

TEST(Weights, EmbedReadsTheRowsOfItsIds) {
  const auto weights = open_dense_model(tiny_gqa());
  const at::Tensor table = read_tensors(tiny_gqa()).at("model.embed_tokens.weight");
  const at::Tensor x = weights->embed(Ids{7, 0, 127, 7});
  EXPECT_EQ(x.sizes(), (std::vector<int64_t>{1, 4, 64}));
  for (const auto& [t, id] : {std::pair{0, 7}, {1, 0}, {2, 127}, {3, 7}}) EXPECT_TRUE(at::equal(x[0][t], table[id]));
}

/// Opening and using every layer of a changed tiny-gqa.
std::string refusal(const std::function<void(std::map<std::string, at::Tensor>&)>& change) {
  const TempDir dir;
  copy_model(tiny_gqa(), dir.path(), change);
  return error_text<FormatError>([&] { (void)logits_of(*open_dense_model(dir.path()), {1, 2, 3}); });
}

TEST(Weights, NameTheTensorThatIsMissing) {
  for (const char* name :
       {"model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight",
        "model.layers.0.self_attn.k_proj.bias", "model.layers.1.input_layernorm.weight", "lm_head.weight"}) {
    EXPECT_THAT(refusal([&](auto& tensors) { tensors.erase(name); }), HasSubstr(name));
  }
}

TEST(Weights, NameTheTensorOfTheWrongShape) {
  for (const char* name : {"model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight",
                           "model.layers.0.self_attn.k_proj.bias", "lm_head.weight"}) {
    const auto shorten = [&](auto& tensors) { tensors.at(name) = tensors.at(name).narrow(0, 0, 47); };
    EXPECT_THAT(refusal(shorten), AllOf(HasSubstr(name), HasSubstr("47")));
  }
  // The same number of elements in another shape.
  const auto transpose = [](auto& tensors) {
    at::Tensor& w = tensors.at("model.layers.0.mlp.up_proj.weight");
    w = w.t().contiguous();
  };
  EXPECT_THAT(refusal(transpose), HasSubstr("model.layers.0.mlp.up_proj.weight"));
}

TEST(Weights, NameTheTensorAndIndexOfANan) {
  const auto poison = [](auto& tensors) { tensors.at("model.layers.1.mlp.up_proj.weight")[3][5].fill_(NAN); };
  // Row 3 of 64 columns, column 5.
  EXPECT_THAT(refusal(poison), AllOf(HasSubstr("model.layers.1.mlp.up_proj.weight"),
                                     ::testing::AnyOf(HasSubstr("197"), HasSubstr("3, 5"))));
}

TEST(Weights, TiedHeadIsTheEmbedding) {
  const auto weights = open_dense_model(demo_model());
  ASSERT_TRUE(weights->config().tied_embeddings);
  EXPECT_TRUE(at::equal(weights->head()[11], weights->embed(Ids{11})[0][0]));
}

TEST(Weights, KeptLayersAreReadOnce) {
  const auto weights = open_dense_model(tiny_gqa());
  EXPECT_NE(weights->layer(1).linear[0], weights->layer(1).linear[0]);
  weights->keep_layers();
  EXPECT_EQ(weights->layer(1).linear[0], weights->layer(1).linear[0]);
  EXPECT_NE(weights->layer(1).linear[0], weights->layer(0).linear[0]);
}

TEST(Weights, OpenModelOpensADenseDirectory) {
  const Ids ids{1, 2, 3};
  EXPECT_TRUE(at::equal(logits_of(*open_model(tiny_gqa()), ids), logits_of(*open_dense_model(tiny_gqa()), ids)));
}

TEST(RmsNorm, EqualsItsFormula) {
  // mean(x^2) = (9 + 16 + 0 + 0) / 4 = 6.25; with eps 0.3125: 1 / sqrt(6.5625).
  const at::Tensor x = at::zeros({1, 4}), w = at::ones({4});
  x[0][0] = 3.0;
  x[0][1] = -4.0;
  w[1] = 2.0;
  const at::Tensor y = rms_norm(x, w, 0.3125);
  EXPECT_NEAR(y[0][0].item<double>(), 3.0 / std::sqrt(6.5625), 4 * 0x1p-24);
  EXPECT_NEAR(y[0][1].item<double>(), -8.0 / std::sqrt(6.5625), 16 * 0x1p-24);
  EXPECT_EQ(y[0][2].item<double>(), 0.0);
}

TEST(Rope, FrequenciesOfLlama3AreKeptBlendedOrDivided) {
  // tiny-gqa: theta 5000, head_dim 24, factor 8, low 1, high 4, context 64. Pair 0 turns 64 / 2 pi = 10.2 times in the
  // context (more than 4: kept). Pair 2: f = 5000^(-4/24) = 0.24183, 2.4633 turns: blended with share (2.4633 - 1) / 3.
  // Pair 11: f = 5000^(-22/24), 0.0042 turns: divided by 8.
  const std::vector<double> f = rope_frequencies(read_hf_config(tiny_gqa()));
  ASSERT_EQ(f.size(), 12U);
  EXPECT_DOUBLE_EQ(f[0], 1.0);
  const double second = std::pow(5000.0, -4.0 / 24.0), share = (64.0 * second / (2.0 * M_PI) - 1.0) / 3.0;
  ASSERT_GT(share, 0.0);
  ASSERT_LT(share, 1.0);
  EXPECT_NEAR(f[2], share * second + (1.0 - share) * second / 8.0, 1e-15);
  EXPECT_NEAR(f[11], std::pow(5000.0, -22.0 / 24.0) / 8.0, 1e-18);
}

TEST(Rope, LinearScalingDividesEveryFrequency) {
  ModelConfig config;
  config.head_dim = 4;
  config.rope_theta = 100.0;
  config.rope_scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 2.0};
  const std::vector<double> f = rope_frequencies(config);
  ASSERT_EQ(f.size(), 2U);
  EXPECT_DOUBLE_EQ(f[0], 0.5);
  EXPECT_DOUBLE_EQ(f[1], 0.05);
}

/// Half of 8 channels turn, as two pairs; the length of the table chooses the factors, and vectors grow by 1.5.
TEST(Rope, LongropeDividesByTheFactorsOfItsLengthAndLeavesTheRestOfAHead) {
  ModelConfig config;
  config.head_dim = 8;
  config.partial_rotary = 0.5;
  config.rope_theta = 100.0;
  config.rope_scaling.kind = RopeScaling::Kind::kLongRope;
  config.rope_scaling.original_context = 4;
  config.rope_scaling.short_factor = {1.0, 2.0};
  config.rope_scaling.long_factor = {4.0, 5.0};
  config.rope_scaling.attention_factor = 1.5;
  EXPECT_EQ(rope_frequencies(config, 4), (std::vector<double>{1.0, 0.1 / 2}));
  EXPECT_EQ(rope_frequencies(config, 5), (std::vector<double>{0.25, 0.1 / 5}));
  const at::Tensor x = at::arange(1, 9, at::kFloat).view({1, 1, 1, 8});
  for (const auto& [positions, first, second] : {std::tuple(4, 1.0, 0.05), {5, 0.25, 0.02}}) {
    const at::Tensor y = RopeTable(config, positions).apply(x, 3)[0][0][0];
    const auto turned = [](double a, double b, double angle) {
      return std::pair{1.5 * (a * std::cos(angle) - b * std::sin(angle)),
                       1.5 * (b * std::cos(angle) + a * std::sin(angle))};
    };
    const auto p = turned(1, 3, 3 * first), q = turned(2, 4, 3 * second);
    const double expected[] = {p.first, q.first, p.second, q.second, 5, 6, 7, 8};
    for (int64_t i = 0; i < 8; ++i) EXPECT_NEAR(y[i].item<double>(), expected[i], 16 * 0x1p-24) << i;
  }
}

TEST(Rope, LayersWithAWindowMayHaveAnglesOfTheirOwn) {
  ModelConfig config;
  config.head_dim = 4;
  config.rope_theta = 100.0;
  config.rope_scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 2.0};
  const at::Tensor x = random_normal({1, 2, 3, 4}, 1);
  const RopeTable same(config, 8);
  EXPECT_TRUE(at::equal(same.apply(x, 2, true), same.apply(x, 2, false)));
  config.local_rope_theta = 10.0;
  const RopeTable two(config, 8);
  EXPECT_TRUE(at::equal(two.apply(x, 2, false), same.apply(x, 2, false)));
  ModelConfig local = config;  // not scaled
  local.rope_theta = 10.0;
  local.rope_scaling = {};
  EXPECT_TRUE(at::equal(two.apply(x, 2, true), RopeTable(local, 8).apply(x, 2)));
}

TEST(Rope, RotatesPairsByPositionTimesFrequency) {
  ModelConfig config;
  config.head_dim = 4;
  config.rope_theta = 100.0;
  const RopeTable table(config, 8);
  at::Tensor x = at::zeros({1, 1, 2, 4});
  x[0][0][1][0] = 1.0;
  x[0][0][1][1] = 1.0;
  const at::Tensor y = table.apply(x, 2)[0][0][1];  // position 3; pairs (0, 2) by 3 and (1, 3) by 0.3
  const double expected[] = {std::cos(3.0), std::cos(0.3), std::sin(3.0), std::sin(0.3)};
  for (int64_t i = 0; i < 4; ++i) EXPECT_NEAR(y[i].item<double>(), expected[i], 0x1p-24);
}

/// Unit roundoff of bf16 (8 significant bits).
constexpr double kBf16 = 0x1p-8 / 2;

/// The model in bf16: weights, the residual stream and every product's result round to bf16. Roundings are independent,
/// so the error of the logits grows like the square root of their number: about 12 per layer (norm, q, k, rope, v,
/// probabilities, attention, o, sum; norm, gate, up, silu, product, down, sum), each relative to the part it touches,
/// of which no single one exceeds the whole. Relative to the norm of the logits: eps * sqrt(16 * layers + 2).
void expect_bf16_is_close(const std::filesystem::path& model, const Ids& ids) {
  const auto exact = open_dense_model(model), rounded = open_dense_model(model, at::kBFloat16);
  EXPECT_EQ(rounded->dtype(), at::kBFloat16);
  const double bound = kBf16 * std::sqrt(16.0 * static_cast<double>(exact->config().n_layers) + 2.0);
  const double error = relative_error(logits_of(*rounded, ids), logits_of(*exact, ids));
  EXPECT_LT(error, 2 * bound);
  EXPECT_GT(error, kBf16 / 8) << "was this computed in bf16 at all?";
}

TEST(Bf16, LogitsOfTinyGqaAreClose) {
  expect_bf16_is_close(tiny_gqa(), GoldenFile(tiny_gqa() / "golden.safetensors").sequences()[0]);
}
TEST(Bf16, LogitsOfDemoAreClose) {
  expect_bf16_is_close(demo_model(), GoldenFile(golden_dir() / "demo-5m.safetensors").sequences()[0]);
}

}  // namespace
}  // namespace scalebits::test
