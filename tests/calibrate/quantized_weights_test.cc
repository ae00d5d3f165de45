// SPDX-License-Identifier: Apache-2.0
// A dense model seen through widths: which layers are quantized, and what each hands out.
#include "scalebits/calibrate/quantized_weights.h"

#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

using ::testing::HasSubstr;

const at::Tensor& dense_weight(const std::shared_ptr<const Linear>& linear) {
  return dynamic_cast<const DenseLinear&>(*linear).weight();
}

TEST(QuantizedLayers, AreAllLinearLayersOfTheDecoderInModelOrder) {
  const QuantizedCase c;
  ASSERT_EQ(c.layers.items.size(), 14U);
  EXPECT_EQ(c.layers.items[0].name, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(c.layers.items[6].name, "model.layers.0.mlp.down_proj");
  EXPECT_EQ(c.layers.items[7].name, "model.layers.1.self_attn.q_proj");
  EXPECT_EQ(c.layers.items[1].grid, BlockGrid(48, 64, kSmallBlocks));
  EXPECT_EQ(c.weights.item_of(1, Proj::kQ), 7);
}

TEST(QuantizedLayers, LeaveOutWhatIsIgnored) {
  const ModelConfig config = read_hf_config(tiny_gqa());
  const QuantizedLayers layers = find_quantized_layers(config, kSmallBlocks, {R"(layers\.0\.)", "k_proj$"});
  ASSERT_EQ(layers.items.size(), 6U);
  for (const auto& item : layers.items) {
    EXPECT_EQ(item.layer, 1);
    EXPECT_NE(item.slot, Proj::kK);
  }
  const QuantizedWeights weights(open_dense_model(tiny_gqa()), layers, group_quantizer("rtn"));
  EXPECT_EQ(weights.item_of(0, Proj::kQ), -1);
  EXPECT_EQ(weights.item_of(1, Proj::kK), -1);
  EXPECT_EQ(weights.item_of(1, Proj::kV), 1);
}

TEST(QuantizedLayers, RefusePatternsThatAreMalformedOrMatchAll) {
  const ModelConfig config = read_hf_config(tiny_gqa());
  EXPECT_THAT(error_text<InvalidArgument>([&] { find_quantized_layers(config, kSmallBlocks, {"("}); }),
              HasSubstr("\"(\""));
  EXPECT_THAT(error_text<InvalidArgument>([&] { find_quantized_layers(config, kSmallBlocks, {"model"}); }),
              HasSubstr("every linear layer"));
}

class QuantizedWeightsOf : public ::testing::TestWithParam<std::tuple<const char*, bool>> {
 protected:
  [[nodiscard]] static QuantizedCase quantized(uint64_t shuffle = 0) {
    return QuantizedCase(std::get<0>(GetParam()), shuffle, std::get<1>(GetParam()));
  }
};

TEST_P(QuantizedWeightsOf, HandOutEachGroupRoundedAtItsBlocksWidth) {
  QuantizedCase c = quantized();
  c.draw_widths(0, 8, 1);
  for (size_t i = 0; i < c.layers.items.size(); ++i) {
    const auto& item = c.layers.items[i];
    EXPECT_TRUE(at::equal(dense_weight(c.weights.linear(item.layer, item.slot)), c.moved(i, 0))) << item.name;
  }
}

TEST_P(QuantizedWeightsOf, HandOutTheModelsOrderWhateverOrderTheyAreRoundedIn) {
  QuantizedCase c = quantized(5);
  c.draw_widths(0, 8, 1);
  for (size_t i = 0; i < c.layers.items.size(); ++i) {
    const auto& item = c.layers.items[i];
    EXPECT_TRUE(at::equal(dense_weight(c.weights.linear(item.layer, item.slot)), c.reordered(i, c.moved(i, 0), true)))
        << item.name;
  }
}

TEST_P(QuantizedWeightsOf, FollowTheWidthsWhenTheyChange) {
  QuantizedCase c = quantized();
  c.weights.set_uniform(2);
  const at::Tensor two = dense_weight(c.weights.linear(0, Proj::kQ)).clone();
  c.weights.set_uniform(5);
  EXPECT_FALSE(at::equal(dense_weight(c.weights.linear(0, Proj::kQ)), two));
  c.weights.set_uniform(2);
  EXPECT_TRUE(at::equal(dense_weight(c.weights.linear(0, Proj::kQ)), two));
}

INSTANTIATE_TEST_SUITE_P(Quantizers, QuantizedWeightsOf,
                         ::testing::Combine(::testing::Values("rtn", "clip"), ::testing::Bool()));

/// What they are weighed for: the squared error that counts falls, and the plain one rises.
TEST(QuantizedWeights, HaveLessErrorWhereItCountsMore) {
  for (const uint64_t shuffle : {0U, 5U}) {
    QuantizedCase plain("clip", shuffle), weighed("clip", shuffle, true);
    plain.weights.set_uniform(3);
    weighed.weights.set_uniform(3);
    for (size_t i = 0; i < plain.layers.items.size(); ++i) {
      const auto& item = plain.layers.items[i];
      const at::Tensor w = plain.dense->weight(item.layer, item.slot);
      const at::Tensor counts = at::from_blob(weighed.moments[i].data(), {w.size(1)}, at::kFloat);
      const auto error = [&](const QuantizedCase& c, const at::Tensor& times) {
        const at::Tensor e = dense_weight(c.weights.linear(item.layer, item.slot)) - w;
        return (e.square() * times).sum(at::kDouble).item<double>();
      };
      EXPECT_LT(error(weighed, counts), 0.95 * error(plain, counts)) << item.name;
      EXPECT_GT(error(weighed, at::ones_like(counts)), error(plain, at::ones_like(counts))) << item.name;
    }
  }
}

TEST(QuantizedWeights, AreTheDenseModelBeforeWidthsAreSet) {
  for (const uint64_t shuffle : {0U, 3U}) {
    const QuantizedCase c("clip", shuffle);
    const Ids ids{5, 9, 100, 2};
    EXPECT_TRUE(at::equal(logits_of(c.weights, ids), logits_of(*c.dense, ids)));
  }
}

TEST(QuantizedWeights, HandOutIgnoredLayersDense) {
  const auto dense = std::shared_ptr<const DenseWeights>(open_dense_model(tiny_gqa()));
  QuantizedWeights weights(dense, find_quantized_layers(dense->config(), kSmallBlocks, {"k_proj"}),
                           group_quantizer("rtn"));
  weights.set_uniform(1);
  EXPECT_TRUE(at::equal(dense_weight(weights.linear(0, Proj::kK)), dense->weight(0, Proj::kK)));
  EXPECT_FALSE(at::equal(dense_weight(weights.linear(0, Proj::kQ)), dense->weight(0, Proj::kQ)));
}

/// Rounding errors at 8 bits: at most half a step, range / 255 / 2 per weight (rtn), against the spread of the weights.
TEST(QuantizedWeights, EightBitsAreNearTheDenseModelAndTwoAreNot) {
  QuantizedCase c("rtn");
  const std::vector<Sequence> sequences = random_sequences(3, 24, 1);
  const std::vector<at::Tensor> reference = reference_hidden(*c.dense, sequences);
  std::vector<double> kl;
  for (const int bits : {8, 4, 2}) {
    c.weights.set_uniform(bits);
    kl.push_back(mean_loss(LossKind::kKl, c.weights, sequences, reference));
  }
  // KL is quadratic in the error: each 2 bits less make steps 5 times as wide (255 / 15 = 17 for four bits less).
  EXPECT_LT(kl[0], kl[1] / 50);
  EXPECT_LT(kl[1], kl[2] / 5);
  EXPECT_GT(kl[0], 0.0);
}

}  // namespace
}  // namespace scalebits::test
