// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/cholesky.h"

#include <gtest/gtest.h>

namespace scalebits {
namespace {

/// A symmetric matrix whose eigenvalues lie between 0.1 and about 4.1.
at::Tensor positive_definite(int64_t n) {
  const at::Tensor x = at::randn({2 * n, n}, at::detail::createCPUGenerator(static_cast<uint64_t>(n)));
  return at::matmul(x.t(), x) / static_cast<double>(2 * n) + 0.1 * at::eye(n);
}

class UpperCholesky : public testing::TestWithParam<int64_t> {};

TEST_P(UpperCholesky, ReproducesTheMatrix) {
  const at::Tensor h = positive_definite(GetParam());
  at::Tensor u = h.clone();
  ASSERT_TRUE(upper_cholesky(u));
  u = u.triu().to(at::kDouble);
  EXPECT_GT(u.diagonal().min().item<double>(), 0);
  // Backward error of a Cholesky factorization: (n + 1) roundings of 2^-24 on the largest diagonal entry (Higham,
  // theorem 10.3), which is below 3 here.
  const double bound = static_cast<double>(GetParam() + 1) * 3 / (1 << 24);
  EXPECT_LE((at::matmul(u, u.t()) - h.to(at::kDouble)).abs().max().item<double>(), bound);
}

TEST_P(UpperCholesky, LeavesTheLowerTriangleAlone) {
  at::Tensor u = positive_definite(GetParam()).triu();
  u += at::full_like(u, 1e30F).tril(-1);
  ASSERT_TRUE(upper_cholesky(u));
  EXPECT_TRUE(at::equal(u.tril(-1), at::full_like(u, 1e30F).tril(-1)));
}

TEST_P(UpperCholesky, SeesThatAMatrixIsNotPositiveDefinite) {
  at::Tensor u = positive_definite(GetParam());
  u[0][0] = -1e-3F;  // the last pivot to be found
  EXPECT_FALSE(upper_cholesky(u));
  at::Tensor nan = positive_definite(GetParam());
  nan[GetParam() / 2][GetParam() - 1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(upper_cholesky(nan));
}

INSTANTIATE_TEST_SUITE_P(Sizes, UpperCholesky, testing::Values(1, 5, 127, 128, 129, 300));

}  // namespace
}  // namespace scalebits
