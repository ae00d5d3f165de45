// SPDX-License-Identifier: Apache-2.0
// A gradient pass gives the same bits whatever the machine does, and says what is wrong with weights that are not
// sound.
#include <gtest/gtest.h>

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/contract.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void expect_same(const BlockSensitivity& a, const BlockSensitivity& b) {
  EXPECT_EQ(a.up, b.up);
  EXPECT_EQ(a.down, b.down);
  EXPECT_EQ(a.restore, b.restore);
  EXPECT_EQ(a.err, b.err);
  EXPECT_EQ(a.err_up, b.err_up);
  EXPECT_EQ(a.err_down, b.err_down);
  EXPECT_EQ(a.move_up, b.move_up);
  EXPECT_EQ(a.move_down, b.move_down);
  EXPECT_EQ(a.fisher, b.fisher);
}

/// Bit for bit.
void expect_same(const PassResult& a, const PassResult& b) {
  EXPECT_EQ(a.loss, b.loss);
  ASSERT_EQ(a.linears.size(), b.linears.size());
  for (size_t i = 0; i < a.linears.size(); ++i) {
    const LinearSensitivity &x = a.linears[i], &y = b.linears[i];
    ASSERT_EQ(x.blocks.size(), y.blocks.size());
    for (size_t j = 0; j < x.blocks.size(); ++j) expect_same(x.blocks[j], y.blocks[j]);
    EXPECT_EQ(x.row_score, y.row_score);
    EXPECT_EQ(x.col_score, y.col_score);
    EXPECT_EQ(x.row_fisher, y.row_fisher);
    EXPECT_EQ(x.col_fisher, y.col_fisher);
  }
}

class Threads {
 public:
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(0); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
};

/// 170 sequences of 22 to 26 tokens: more positions than one microbatch holds (4096 / 26 sequences).
class LongPass : public ::testing::TestWithParam<LossKind> {
 protected:
  LongPass() { case_.draw_widths(1, 8, 1); }
  PassResult run(const PassOptions& options) {
    const std::vector<at::Tensor> reference = reference_hidden(*case_.dense, sequences_);
    return gradient_pass(case_.weights, sequences_, reference, options);
  }
  QuantizedCase case_;
  const std::vector<Sequence> sequences_ = random_sequences(170, 26, 2);
};

TEST_P(LongPass, DoesNotDependOnThreads) {
  std::vector<PassResult> results;
  for (const int n : {1, 2, 3}) {
    const Threads threads(n);
    results.push_back(run({.loss = GetParam(), .seed = 5}));
  }
  expect_same(results[0], results[1]);
  expect_same(results[0], results[2]);
  EXPECT_NE(results[0].loss, 0.0);
}

INSTANTIATE_TEST_SUITE_P(Losses, LongPass, ::testing::Values(LossKind::kKl, LossKind::kSampled));

TEST(GradientPass, DoesNotDependOnWhereActivationsAre) {
  const TempDir dir;
  QuantizedCase c;
  c.draw_widths(1, 8, 1);
  const std::vector<Sequence> sequences = random_sequences(7, 26, 2);
  const std::vector<at::Tensor> reference = reference_hidden(*c.dense, sequences);
  const PassResult in_memory = gradient_pass(c.weights, sequences, reference, {});
  const PassResult in_file =
      gradient_pass(c.weights, sequences, reference, {.activation_bytes = 0, .spill_dir = dir.path()});
  expect_same(in_memory, in_file);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << "the file has no name";
}

TEST(GradientPassSeed, ChangesSampledLossesOnly) {
  QuantizedCase c;
  c.draw_widths(2, 4, 1);
  const std::vector<Sequence> sequences = random_sequences(4, 20, 3);
  const auto loss = [&](LossKind kind, uint64_t seed) {
    return gradient_pass(c.weights, sequences, reference_hidden(*c.dense, sequences), {.loss = kind, .seed = seed})
        .loss;
  };
  EXPECT_EQ(loss(LossKind::kSampled, 1), loss(LossKind::kSampled, 1));
  EXPECT_NE(loss(LossKind::kSampled, 1), loss(LossKind::kSampled, 2));
  EXPECT_EQ(loss(LossKind::kKl, 1), loss(LossKind::kKl, 2));
}

TEST(GradientPassErrors, DirectoryThatCannotHoldTheFileIsNamed) {
  QuantizedCase c;
  const std::vector<Sequence> sequences = random_sequences(2, 20, 3);
  const PassOptions options{.loss = LossKind::kCe, .activation_bytes = 0, .spill_dir = "/no/such/directory"};
  const std::string text = error_text<IoError>([&] { gradient_pass(c.weights, sequences, {}, options); });
  EXPECT_THAT(text, HasSubstr("/no/such/directory"));
}

/// A pass over a changed tiny-gqa.
void pass_over(const std::function<void(std::map<std::string, at::Tensor>&)>& change, const QuantizedLayers& layers) {
  const TempDir dir;
  copy_model(tiny_gqa(), dir.path(), change);
  const QuantizedWeights weights(open_dense_model(dir.path()), layers, group_quantizer("rtn"));
  gradient_pass(weights, random_sequences(2, 20, 3), {}, {.loss = LossKind::kCe});
}

TEST(GradientPassErrors, NanInAWeightIsNamedWithItsIndex) {
  const QuantizedCase c;
  const auto poison = [](auto& tensors) { tensors.at("model.layers.1.mlp.up_proj.weight")[3][5].fill_(NAN); };
  const std::string text = error_text<FormatError>([&] { pass_over(poison, c.layers); });
  EXPECT_THAT(text, AllOf(HasSubstr("model.layers.1.mlp.up_proj.weight"),
                          ::testing::AnyOf(HasSubstr("197"), HasSubstr("3, 5"))));
}

TEST(GradientPassErrors, LossThatIsNotFiniteIsReported) {
  const QuantizedCase c;
  const auto overflow = [](auto& tensors) { tensors.at("lm_head.weight").fill_(3e38); };
  EXPECT_THAT(error_text<Error>([&] { pass_over(overflow, c.layers); }), HasSubstr("loss of sequence 0"));
}

TEST(Contract, NamesTensorAndIndexOfAGradientThatIsNotFinite) {
  const QuantizedCase c;
  WeightGradient gradient(Proj::kK, linear_shape(c.dense->config(), 0, Proj::kK));
  std::vector<float> g(48 * 64);
  g[7 * 64 + 9] = INFINITY;
  gradient.add(0, g);
  const std::string text = error_text<Error>([&] { contract(c.weights, 1, gradient, 1); });
  EXPECT_THAT(text, AllOf(HasSubstr("model.layers.0.self_attn.k_proj.weight"), HasSubstr("[7, 9]"), HasSubstr("inf")));
}

TEST(WeightGradient, SumsGradientsAndTheirSquares) {
  WeightGradient gradient(Proj::kQ, {.out_features = 3, .in_features = 2});
  gradient.add(1, std::vector<float>{1, -2, 3, 4});
  gradient.add(1, std::vector<float>{5, 6});
  EXPECT_EQ(gradient.sum, (std::vector<float>{0, 0, 6, 4, 3, 4}));
  EXPECT_EQ(gradient.squares, (std::vector<float>{0, 0, 26, 40, 9, 16}));
}

TEST(GradientPassErrors, StopRequestEndsThePass) {
  QuantizedCase c;
  request_stop();
  EXPECT_THROW(gradient_pass(c.weights, random_sequences(2, 20, 3), {}, {.loss = LossKind::kCe}), Interrupted);
  clear_stop_request();
}

}  // namespace
}  // namespace scalebits::test
