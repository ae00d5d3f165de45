// SPDX-License-Identifier: Apache-2.0
// Mean squared inputs, against a decoder in f64; and the orders that they follow.
#include "scalebits/calibrate/column_moments.h"

#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/calibrate/routed_by_token.h"
#include "tests/io/error_text.h"
#include "tests/pack/random_plan.h"

namespace scalebits::test {
namespace {

CalibSet calib_of(std::vector<Sequence> gradient) { return {std::move(gradient), {{1, 2, 3}}, "hash", "test"}; }

TEST(ColumnMoments, AreMeanSquaredInputsOfTheFullPrecisionModel) {
  const QuantizedCase c;
  const CalibSet calib = calib_of(random_sequences(4, 20, 1));
  std::map<std::string, at::Tensor> squares;
  int64_t tokens = 0;
  PlainDecoder decoder(tiny_gqa());
  decoder.watch = [&](const std::string& name, const at::Tensor& x) {
    const at::Tensor sum = x.square().sum(0);
    squares[name] = squares.contains(name) ? squares[name] + sum : sum;
  };
  for (size_t s = 0; s < calib.gradient.size(); ++s) {
    (void)decoder.logits(calib.gradient[s]);
    tokens += static_cast<int64_t>(calib.gradient[s].size());
  }
  const ColumnMoments moments = column_moments(*c.dense, c.layers, calib);
  ASSERT_EQ(moments.size(), c.layers.items.size());
  for (size_t i = 0; i < moments.size(); ++i) {
    const std::string& name = c.layers.items[i].name;
    ASSERT_EQ(static_cast<int64_t>(moments[i].size()), c.layers.items[i].grid.in_features()) << name;
    const at::Tensor of = squares.at(name) / static_cast<double>(tokens);
    // As if 16 more tokens had come with the mean of the channels each.
    const double share = 16.0 / (16.0 + static_cast<double>(tokens));
    const at::Tensor expected = (1 - share) * of + share * of.mean();
    for (size_t k = 0; k < moments[i].size(); ++k) {
      // f32 activations behind up to two layers are off by some 1e-6 of the largest.
      EXPECT_NEAR(moments[i][k], expected[static_cast<int64_t>(k)].item<double>(), 1e-4 * of.max().item<double>())
          << name << " channel " << k;
    }
  }
}

TEST(ColumnMoments, DoNotDependOnThreadsOrMemory) {
  const QuantizedCase c;
  const CalibSet calib = calib_of(random_sequences(5, 30, 3));
  set_num_threads(1);
  const ColumnMoments one = column_moments(*c.dense, c.layers, calib);
  set_num_threads(3);
  EXPECT_EQ(column_moments(*c.dense, c.layers, calib), one);
  set_num_threads(2);
  EXPECT_EQ(column_moments(*c.dense, c.layers, calib, false, /*activation_bytes=*/1), one);
  set_num_threads(0);
}

TEST(ColumnMoments, OfAnExpertAreOfTheTokensThatReachIt) {
  const TempDir dir;
  write_routed_by_token(dir.path());
  const auto dense = open_dense_model(dir.path());
  const QuantizedLayers layers = find_quantized_layers(dense->config(), {16, 16, 16});
  // 1, 3 and 9 are below 10; six are not.
  const CalibSet calib = calib_of({{1, 50, 3, 60, 70}, {80, 9, 90}, {10}});
  const ColumnMoments routed = column_moments(*dense, layers, calib);
  const ColumnMoments every = column_moments(*dense, layers, calib, /*every_expert=*/true);
  const auto of = [&](const ColumnMoments& moments, int64_t expert) {
    for (size_t i = 0; i < moments.size(); ++i) {
      if (layers.items[i].layer == 1 && layers.items[i].slot == Slot(Proj::kGate, expert)) return moments[i];
    }
    return std::vector<float>();
  };
  EXPECT_EQ(of(routed, 5), of(routed, 2));
  EXPECT_EQ(of(routed, 1), of(routed, 3));
  EXPECT_EQ(of(routed, 0), std::vector<float>(static_cast<size_t>(dense->config().d_model), 0.0F));
  // Sums of squares, without the 16 tokens of the mean, which is the same with and without them.
  const auto sums = [](const std::vector<float>& moments, int64_t tokens) {
    const at::Tensor m = at::tensor(at::ArrayRef<float>(moments)).to(at::kDouble);
    return (m * static_cast<double>(tokens + 16) - 16 * m.mean()).contiguous();
  };
  const at::Tensor all = sums(of(every, 0), 9), parts = sums(of(routed, 2), 3) + sums(of(routed, 3), 6);
  EXPECT_LE(max_error(all, parts), 1e-5 * all.max().item<double>());
}

/// The sums of squares of a matrix's columns stand where the stored matrix has these columns.
TEST(ColumnMoments, FollowTheColumnsIntoTheStoredOrder) {
  const std::filesystem::path dir = tiny_gqa();
  const ModelConfig config = read_hf_config(dir);
  const auto checkpoint = std::make_shared<const Checkpoint>(dir);
  const auto sums = [](const at::Tensor& matrix) {
    const at::Tensor s = matrix.to(at::kDouble).square().sum(0).to(at::kFloat);
    return std::vector<float>(s.data_ptr<float>(), s.data_ptr<float>() + s.numel());
  };
  const DenseWeights plain(checkpoint, config), folded(checkpoint, config, random_order(config, 4));
  const QuantizedLayers own = tiny_layers_in_order(6);
  for (const auto& item : own.items) {
    const std::vector<float> of_model = sums(plain.weight(item.layer, item.slot));
    const at::Tensor stored = in_order(folded.weight(item.layer, item.slot), item.order);
    const std::vector<float> moved =
        in_stored_order({of_model}, 0, config, folded.order(), item.layer, item.slot, item.order.cols);
    const std::vector<float> expected = sums(stored);
    // Rows are in another order too, so that f64 sums of squares may differ by a rounding to f32.
    for (size_t c = 0; c < expected.size(); ++c) EXPECT_NEAR(moved[c], expected[c], 1e-6F * expected[c]) << item.name;
  }
  EXPECT_TRUE(in_stored_order({}, 0, config, folded.order(), 0, Proj::kQ, {}).empty());
}

TEST(ColumnMoments, RefuseInputsThatAreNotFiniteByName) {
  const TempDir dir;
  copy_model(tiny_gqa(), dir.path(), [](auto& tensors) {
    tensors.at("model.layers.1.input_layernorm.weight")[3] = std::numeric_limits<float>::max();
  });
  const auto dense = open_dense_model(dir.path());
  const QuantizedLayers layers = find_quantized_layers(dense->config(), kSmallBlocks);
  EXPECT_THAT(error_text<Error>([&] {
                column_moments(*dense, layers, calib_of({{1, 2, 3}}));
              }),
              ::testing::HasSubstr("[model.layers.1.self_attn.q_proj] squares of input channel 3: got inf"));
}

}  // namespace
}  // namespace scalebits::test
