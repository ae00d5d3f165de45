// SPDX-License-Identifier: Apache-2.0
// Linear layers: packed against the decoded matrix, dense against autograd, and the products below them.
#include "scalebits/model/linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/model/gemm.h"
#include "tests/kernels/random_packed.h"
#include "tests/model/golden.h"

namespace scalebits::test {
namespace {

/// The exact weights of a random packed matrix, f64.
at::Tensor exact_weights(const RandomPacked& packed) {
  at::Tensor w = at::empty({packed.grid.out_features(), packed.grid.in_features()}, at::kDouble);
  std::copy(packed.weights.begin(), packed.weights.end(), w.data_ptr<double>());
  return w;
}

/// Largest |got - x W^T - b| as a share of what rounding may do: any order of summation of n f32 products errs by less
/// than n * 2^-24 * sum |x w| (Higham, Accuracy and Stability, section 3.1; n = in_features + 1 for the bias, + 16 for
/// the kernels' lanes), and activations rounded to int8 in 128ths of their group's largest would exceed it by far.
double share_of_rounding(const at::Tensor& got, const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
  const at::Tensor xd = x.to(at::kDouble), wd = w.to(at::kDouble), bd = b.to(at::kDouble);
  const at::Tensor exact = at::matmul(xd, wd.t()) + bd;
  const at::Tensor bound =
      (at::matmul(xd.abs(), wd.abs().t()) + bd.abs()) * static_cast<double>(w.size(1) + 17) * 0x1p-24;
  return ((got.to(at::kDouble) - exact).abs() / bound).max().item<double>();
}

class PackedLinearOf : public ::testing::TestWithParam<std::tuple<int64_t, int>> {};

/// Up to 8 tokens take the gemv kernels, more the decoded panels.
TEST_P(PackedLinearOf, EqualsTheDecodedMatrixWithinRounding) {
  init_torch();
  const auto [tokens, bits] = GetParam();
  const auto packed = std::make_shared<RandomPacked>(random_packed(75, 150, {32, 64, 32}, bits, 11));
  const at::Tensor bias = random_normal({75}, 2), x = random_normal({1, tokens, 150}, 3);
  const PackedLinear linear(packed->matrix.view(), bias, packed, "layer");
  EXPECT_EQ(linear.out_features(), 75);
  EXPECT_EQ(linear.in_features(), 150);
  const at::Tensor y = linear.forward(x, nullptr);
  ASSERT_EQ(y.sizes(), (std::vector<int64_t>{1, tokens, 75}));
  EXPECT_LT(share_of_rounding(y, x, exact_weights(*packed), bias), 1.0);
  const DenseLinear dense(exact_weights(*packed).to(at::kFloat), bias);
  EXPECT_LT(share_of_rounding(dense.forward(x, nullptr), x, exact_weights(*packed), bias), 1.0);
}

INSTANTIATE_TEST_SUITE_P(TokensAndBits, PackedLinearOf,
                         ::testing::Combine(::testing::Values(1, 2, 8, 9, 40), ::testing::Values(0, 1, 4, 8)));

TEST(PackedLinear, WorksWithoutBiasAndOnStridedInput) {
  init_torch();
  const auto packed = std::make_shared<RandomPacked>(random_packed(32, 64, {32, 32, 32}, 0, 5));
  const PackedLinear linear(packed->matrix.view(), {}, packed, "layer");
  const at::Tensor x = random_normal({64, 3}, 4).t();
  EXPECT_LT(share_of_rounding(linear.forward(x, nullptr), x, exact_weights(*packed), at::zeros({32})), 1.0);
}

/// Rows and columns stored backwards: what comes out is the product with the matrix the right way round.
TEST(PackedLinear, AppliesTheOrderThatItIsStoredIn) {
  init_torch();
  const auto packed = std::make_shared<RandomPacked>(random_packed(75, 150, {32, 64, 32}, 0, 11));
  RowColOrder backwards{identity_permutation(75), identity_permutation(150)};
  std::reverse(backwards.rows.begin(), backwards.rows.end());
  std::reverse(backwards.cols.begin(), backwards.cols.end());
  const at::Tensor bias = random_normal({75}, 2), weights = exact_weights(*packed).flip({0, 1});
  const PackedLinear linear(packed->matrix.view(), bias, packed, "layer", backwards);
  const PackedLinear stored(packed->matrix.view(), {}, packed, "layer");
  for (const int64_t tokens : {1, 3, 8, 40}) {
    const at::Tensor x = random_normal({1, tokens, 150}, 3), y = linear.forward(x, nullptr);
    EXPECT_LT(share_of_rounding(y, x, weights, bias), 1.0) << tokens;
    if (tokens <= 8) {
      EXPECT_TRUE(at::equal(y, stored.forward(x.flip({2}), nullptr).flip({2}) + bias)) << tokens;
    }
  }
}

TEST(PackedLinear, KeepsItsBytesAlive) {
  init_torch();
  auto packed = std::make_shared<RandomPacked>(random_packed(16, 32, {16, 32, 32}, 3, 5));
  const std::weak_ptr<RandomPacked> watched = packed;
  auto linear = std::make_unique<PackedLinear>(packed->matrix.view(), at::Tensor(), packed, "layer");
  packed.reset();
  EXPECT_FALSE(watched.expired());
  linear.reset();
  EXPECT_TRUE(watched.expired());
}

TEST(PackedLinear, RefusesStreamsOfTheWrongLengthByName) {
  const auto packed = std::make_shared<RandomPacked>(random_packed(16, 32, {16, 32, 32}, 3, 5));
  PackedView view = packed->matrix.view();
  view.codes = view.codes.first(view.codes.size() - 1);
  try {
    const PackedLinear linear(view, {}, packed, "model.layers.7.mlp.up_proj");
    FAIL() << "nothing was thrown";
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("model.layers.7.mlp.up_proj"), std::string::npos) << error.what();
  }
}

TEST(DenseLinear, BackwardEqualsAutogradAndTheTapHoldsTheWeightGradient) {
  init_torch();
  const at::Tensor w = random_normal({7, 5}, 1), b = random_normal({7}, 2), dy = random_normal({1, 6, 7}, 4);
  const DenseLinear linear(w, b);
  const at::Tensor x = random_normal({1, 6, 5}, 3).requires_grad_(true);
  LinearTap tap;
  linear.forward(x, &tap).backward(dy);
  const at::Tensor xd = x.detach().to(at::kDouble).requires_grad_(true);
  const at::Tensor wd = w.to(at::kDouble).requires_grad_(true);
  at::linear(xd, wd).backward(dy.to(at::kDouble));
  const double rounding = 16 * 0x1p-24;  // sums of 5 to 7 products of numbers of size 1 to 4
  EXPECT_LT(max_error(x.grad(), xd.grad()), rounding * 7);
  at::Tensor dw = at::empty({7, 5}, at::kFloat);
  matmul_tn(tap.dy, 0, 7, tap.x, dw.data_ptr<float>());
  EXPECT_LT(max_error(dw, wd.grad()), rounding * 6);
}

TEST(DenseLinear, GivesTheSameValuesWithAndWithoutGradients) {
  init_torch();
  const DenseLinear linear(random_normal({7, 5}, 1), random_normal({7}, 2));
  const at::Tensor x = random_normal({1, 6, 5}, 3);
  const at::Tensor tracked = linear.forward(x.clone().requires_grad_(true), nullptr);
  EXPECT_TRUE(at::equal(tracked.detach(), linear.forward(x, nullptr)));
}

TEST(Gemm, EveryOrientationEqualsFloat64) {
  init_torch();
  const at::Tensor a = random_normal({2, 9, 21}, 1), w = random_normal({13, 21}, 2), b = random_normal({2, 9, 13}, 3);
  const auto expect_close = [](const at::Tensor& got, const at::Tensor& x, const at::Tensor& y) {
    const at::Tensor xd = x.to(at::kDouble), yd = y.to(at::kDouble);
    const at::Tensor bound = at::matmul(xd.abs(), yd.abs()) * static_cast<double>(y.size(0) + 1) * 0x1p-24;
    EXPECT_TRUE(((got.to(at::kDouble) - at::matmul(xd, yd)).abs() <= bound).all().item<bool>());
  };
  expect_close(matmul_nt(a, w), a, w.t());
  expect_close(matmul_nn(b, w), b, w);
  const at::Tensor dy = random_normal({9, 13}, 4), x = random_normal({9, 21}, 5);
  at::Tensor rows = at::empty({4, 21}, at::kFloat);
  matmul_tn(dy, 6, 4, x, rows.data_ptr<float>());
  expect_close(rows, dy.narrow(1, 6, 4).t(), x);
}

/// Products of bf16 are exact in f32, so that only their sum (in f32, as above) and the result (to 8 bits of mantissa)
/// are rounded, whatever the processor has instructions for.
TEST(Gemm, Bf16ProductsAreThoseOfF32RoundedOnce) {
  init_torch();
  const at::Tensor x = random_normal({2, 13, 150}, 1).to(at::kBFloat16),
                   w = random_normal({600, 150}, 2).to(at::kBFloat16);
  const at::Tensor y = matmul_nt(x, w);
  ASSERT_EQ(y.scalar_type(), at::kBFloat16);
  ASSERT_EQ(y.sizes(), (std::vector<int64_t>{2, 13, 600}));
  const at::Tensor xd = x.to(at::kDouble), wd = w.to(at::kDouble), exact = at::matmul(xd, wd.t());
  const at::Tensor bound = exact.abs() * 0x1p-8 + at::matmul(xd.abs(), wd.abs().t()) * (167 * 0x1p-24);
  EXPECT_LE(((y.to(at::kDouble) - exact).abs() / bound).max().item<double>(), 1.0);
}

}  // namespace
}  // namespace scalebits::test
