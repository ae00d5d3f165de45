// SPDX-License-Identifier: Apache-2.0
// Chunked causal attention against its formula in float64 with autograd, forward and backward.
#include "scalebits/model/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/model/golden.h"

namespace scalebits::test {
namespace {

struct Shape {
  int64_t batch, heads, kv_heads, queries, keys, head_dim;
};

struct Inputs {
  at::Tensor q, k, v;
  explicit Inputs(const Shape& s, uint64_t seed = 1)
      : q(random_normal({s.batch, s.heads, s.queries, s.head_dim}, seed)),
        k(random_normal({s.batch, s.kv_heads, s.keys, s.head_dim}, seed + 100)),
        v(random_normal({s.batch, s.kv_heads, s.keys, s.head_dim}, seed + 200)) {}
};

/// softmax(cap(q k^T / sqrt(d)) + mask) v in float64: whole matrices, KV heads repeated, mask by comparing positions.
at::Tensor by_formula(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionRule& rule) {
  const int64_t t = q.size(2), s = k.size(2), group = q.size(1) / k.size(1);
  const at::Tensor kk = at::repeat_interleave(k, group, 1), vv = at::repeat_interleave(v, group, 1);
  at::Tensor scores = at::matmul(q, kk.transpose(2, 3));
  scores = rule.scale > 0 ? scores * rule.scale : scores / std::sqrt(static_cast<double>(q.size(3)));
  if (rule.cap > 0) scores = rule.cap * at::tanh(scores / rule.cap);
  const at::Tensor query_position = at::arange(t, at::kLong).unsqueeze(1) + (s - t);
  const at::Tensor key_position = at::arange(s, at::kLong).unsqueeze(0);
  at::Tensor hidden = key_position > query_position;
  if (rule.window > 0) hidden = hidden.logical_or(key_position <= query_position - rule.window);
  return at::matmul(at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1), vv);
}

/// Unit roundoff of f32, times the longest chain of roundings that one output sees: a score (head_dim products, sizes
/// of a few), its exp, the sum of `keys` terms, the product with v. Worst case, all errors of one sign and size; real
/// errors stay well below and a single wrong key among `keys` is above 1 / keys.
double tolerance(const Shape& s) {
  return 0x1p-24 * (4.0 * static_cast<double>(s.head_dim) + static_cast<double>(s.keys));
}

void expect_equal_to_formula(const Shape& shape, const AttentionRule& rule = {}) {
  init_torch();
  ASSERT_LT(tolerance(shape), 0.1 / static_cast<double>(shape.keys)) << "a wrong key would go unseen";
  const Inputs in(shape);
  std::vector<at::Tensor> ours, exact;
  for (const at::Tensor& x : {in.q, in.k, in.v}) {
    ours.push_back(x.clone().requires_grad_(true));
    exact.push_back(x.to(at::kDouble).requires_grad_(true));
  }
  const at::Tensor got = causal_attention(ours[0], ours[1], ours[2], rule);
  const at::Tensor expected = by_formula(exact[0], exact[1], exact[2], rule);
  EXPECT_LT(max_error(got, expected), tolerance(shape) * max_magnitude(in.v));
  const at::Tensor dout = random_normal(got.sizes(), 7);
  got.backward(dout);
  expected.backward(dout.to(at::kDouble));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LT(max_error(ours[i].grad(), exact[i].grad()), 4 * tolerance(shape) * max_magnitude(exact[i].grad())) << i;
  }
}

TEST(CausalAttention, EqualsTheFormulaWithOneKvHeadPerHead) { expect_equal_to_formula({2, 3, 3, 17, 17, 8}); }
TEST(CausalAttention, EqualsTheFormulaWithSharedKvHeads) { expect_equal_to_formula({2, 6, 2, 23, 23, 24}); }
TEST(CausalAttention, EqualsTheFormulaWithFewerQueriesThanKeys) { expect_equal_to_formula({1, 4, 2, 5, 40, 16}); }
TEST(CausalAttention, EqualsTheFormulaForOneQuery) { expect_equal_to_formula({1, 4, 1, 1, 33, 16}); }
TEST(CausalAttention, EqualsTheFormulaBeyondOneChunkOfQueries) { expect_equal_to_formula({1, 2, 1, 700, 700, 8}); }
TEST(CausalAttention, EqualsTheFormulaForChunksBehindACache) { expect_equal_to_formula({1, 2, 1, 600, 650, 8}); }

TEST(CausalAttention, EqualsTheFormulaWithAnotherScale) {
  expect_equal_to_formula({1, 2, 1, 17, 17, 8}, {.scale = 0.7});
}
/// A cap of the size of the scores, whose gradient it shrinks; in one query too, which has its own code.
TEST(CausalAttention, EqualsTheFormulaWithACap) {
  for (const int64_t queries : {23, 5, 1}) expect_equal_to_formula({2, 4, 2, queries, 23, 16}, {.cap = 1.0});
}
/// The window's edge inside the text, before its beginning, in other chunks of queries, and at one query alone.
TEST(CausalAttention, EqualsTheFormulaWithAWindow) {
  for (const int64_t window : {2, 5, 22, 23, 24}) {
    for (const int64_t queries : {23, 9, 1}) {
      expect_equal_to_formula({1, 4, 2, queries, 23, 8}, {.window = window});
    }
  }
  for (const int64_t window : {3, 200, 600}) {
    expect_equal_to_formula({1, 2, 1, 600, 650, 8}, {.scale = 0.3, .cap = 1.5, .window = window});
  }
}

/// The softmax of one score is 1, whatever it is.
TEST(CausalAttention, AWindowOfOneKeyGivesItsValue) {
  init_torch();
  const Inputs in({1, 2, 2, 9, 12, 8});
  EXPECT_EQ(max_error(causal_attention(in.q, in.k, in.v, {.window = 1}), in.v.narrow(2, 3, 9)), 0.0);
}

TEST(CausalAttention, SeesNoKeyAfterTheQuery) {
  init_torch();
  const Inputs in({1, 2, 1, 9, 12, 8});
  const at::Tensor before = causal_attention(in.q, in.k, in.v);
  in.k.narrow(2, 10, 2).fill_(50.0);
  in.v.narrow(2, 10, 2).fill_(1e6);
  const at::Tensor after = causal_attention(in.q, in.k, in.v);
  // Query t stands at 3 + t: the first 7 do not reach position 10, the last two do.
  EXPECT_EQ(max_error(after.narrow(2, 0, 7), before.narrow(2, 0, 7)), 0.0);
  EXPECT_GT(max_error(after.narrow(2, 7, 1), before.narrow(2, 7, 1)), 1.0);
}

TEST(CausalAttention, GivesTheSameValuesWithAndWithoutGradients) {
  init_torch();
  const Inputs in({1, 4, 2, 20, 20, 8});
  const at::Tensor plain = causal_attention(in.q, in.k, in.v);
  const at::Tensor q = in.q.clone().requires_grad_(true);
  EXPECT_EQ(max_error(causal_attention(q, in.k, in.v).detach(), plain), 0.0);
}

TEST(CausalAttention, StaysFiniteForLargeScores) {
  init_torch();
  Inputs in({1, 1, 1, 6, 6, 8});
  const at::Tensor out = causal_attention(in.q * 1e4, in.k * 1e4, in.v);
  EXPECT_TRUE(at::isfinite(out).all().item<bool>());
}

}  // namespace
}  // namespace scalebits::test
