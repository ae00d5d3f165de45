// SPDX-License-Identifier: Apache-2.0
// Folded channel orders leave the function unchanged, and only the valid ones do.
#include "scalebits/model/fold.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Permutation random_order(int64_t n, Rng& rng) {
  Permutation perm(static_cast<size_t>(n));
  std::iota(perm.begin(), perm.end(), 0);
  for (size_t i = 0; i + 1 < perm.size(); ++i) std::swap(perm[i], perm[i + rng.below(perm.size() - i)]);
  return perm;
}

/// Which axes get a random order.
struct Axes {
  bool residual = false, mlp = false, value = false, kv_heads = false, query_heads = false;
};

FoldedOrder random_folded_order(const ModelConfig& c, Axes axes, uint64_t seed) {
  Rng rng(seed);
  FoldedOrder order;
  if (axes.residual) order.residual = random_order(c.d_model, rng);
  for (int64_t l = 0; l < c.n_layers; ++l) {
    FoldedOrder::Layer layer;
    if (axes.mlp) layer.mlp = random_order(c.d_ff, rng);
    if (axes.kv_heads) layer.kv_heads = random_order(c.n_kv_heads, rng);
    for (int64_t g = 0; g < c.n_kv_heads; ++g) {
      if (axes.value) layer.value.push_back(random_order(c.head_dim, rng));
      if (axes.query_heads) layer.query_heads.push_back(random_order(c.n_heads / c.n_kv_heads, rng));
    }
    order.layers.push_back(layer);
  }
  return order;
}

class FoldedTinyGqa : public ::testing::Test {
 protected:
  FoldedTinyGqa() : golden_(tiny_gqa() / "golden.safetensors"), ids_(golden_.sequences()[0]) {}

  at::Tensor logits(const FoldedOrder& order) const {
    const DenseWeights weights(std::make_shared<Checkpoint>(tiny_gqa()), config_, order);
    return logits_of(weights, ids_);
  }
  /// Two f32 runs with sums in different orders, each within 8 float32 errors of the golden values (golden_test.cc).
  [[nodiscard]] double tolerance() const { return 16 * golden_.number("float32_logit_error"); }

  void expect_unchanged(Axes axes) const {
    const at::Tensor plain = logits({});
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      const FoldedOrder order = random_folded_order(config_, axes, seed);
      EXPECT_NO_THROW(check_folded_order(config_, order));
      EXPECT_LT(max_error(logits(order), plain), tolerance()) << "seed " << seed;
    }
  }

  const ModelConfig config_ = read_hf_config(tiny_gqa());
  const GoldenFile golden_;
  const Ids ids_;
};

TEST_F(FoldedTinyGqa, ResidualOrderLeavesTheLogits) { expect_unchanged({.residual = true}); }
TEST_F(FoldedTinyGqa, MlpOrderLeavesTheLogits) { expect_unchanged({.mlp = true}); }
TEST_F(FoldedTinyGqa, ValueOrderLeavesTheLogits) { expect_unchanged({.value = true}); }
TEST_F(FoldedTinyGqa, KvHeadOrderLeavesTheLogits) { expect_unchanged({.kv_heads = true}); }
TEST_F(FoldedTinyGqa, QueryHeadOrderLeavesTheLogits) { expect_unchanged({.query_heads = true}); }
TEST_F(FoldedTinyGqa, AllOrdersTogetherLeaveTheLogits) {
  expect_unchanged({.residual = true, .mlp = true, .value = true, .kv_heads = true, .query_heads = true});
}

TEST_F(FoldedTinyGqa, MovesTheWeightsAsTheOrderSays) {
  const FoldedOrder order = random_folded_order(
      config_, {.residual = true, .mlp = true, .value = true, .kv_heads = true, .query_heads = true}, 5);
  const DenseWeights folded(std::make_shared<Checkpoint>(tiny_gqa()), config_, order);
  const auto stored = read_tensors(tiny_gqa());
  const FoldedOrder::Layer& layer = order.layers[1];
  const auto entry = [&](Proj p, int64_t r, int64_t c) {
    return stored.at(linear_name(config_, 1, p) + ".weight")[r][c].item<float>();
  };
  const at::Tensor up = folded.weight(1, Proj::kUp), o = folded.weight(1, Proj::kO), v = folded.weight(1, Proj::kV);
  const at::Tensor k_bias = folded.bias(1, Proj::kK),
                   stored_k_bias = stored.at(linear_name(config_, 1, Proj::kK) + ".bias");
  for (size_t i = 0; i < 5; ++i) {
    const auto n = static_cast<int64_t>(i);
    EXPECT_EQ(up[n][n + 1].item<float>(), entry(Proj::kUp, layer.mlp[i], order.residual[i + 1]));
    // New KV head 1 is old head g; its channel i is the old one value[g][i].
    const int32_t g = layer.kv_heads[1];
    const int32_t channel = layer.value[static_cast<size_t>(g)][i];
    EXPECT_EQ(v[24 + n][n].item<float>(), entry(Proj::kV, g * 24 + channel, order.residual[i]));
    // K keeps its channels inside a head: rotary pairs stay where they are.
    EXPECT_EQ(k_bias[24 + n].item<float>(), stored_k_bias[g * 24 + n].item<float>());
    // New query head 3 is the second of new group 1.
    const int32_t head = g * 2 + layer.query_heads[static_cast<size_t>(g)][1];
    EXPECT_EQ(o[n][3 * 24 + n].item<float>(), entry(Proj::kO, order.residual[i], head * 24 + channel));
  }
}

/// What a fold that forgets one side would do: the same four-head model with the rows of one matrix moved alone.
TEST_F(FoldedTinyGqa, MovingRowsOfQWithoutKChangesTheLogits) {
  const TempDir dir;
  copy_model(tiny_gqa(), dir.path(), [this](auto& tensors) {
    Permutation swapped(96);
    std::iota(swapped.begin(), swapped.end(), 0);
    for (int i = 0; i < 24; ++i) std::swap(swapped[static_cast<size_t>(i)], swapped[static_cast<size_t>(72 + i)]);
    for (const char* part : {".weight", ".bias"}) {
      at::Tensor& t = tensors.at(linear_name(config_, 0, Proj::kQ) + part);
      t = permute_dim(t, 0, swapped);
    }
  });
  EXPECT_GT(max_error(logits_of(*open_dense_model(dir.path()), ids_), logits({})), 1000 * tolerance());
}

TEST_F(FoldedTinyGqa, MovingChannelsInsideAHeadOfQAndKChangesTheLogits) {
  const TempDir dir;
  copy_model(tiny_gqa(), dir.path(), [this](auto& tensors) {
    Permutation q(96), k(48);
    std::iota(q.begin(), q.end(), 0);
    std::iota(k.begin(), k.end(), 0);
    for (size_t head = 0; head < 4; ++head) std::swap(q[head * 24], q[head * 24 + 1]);
    for (size_t head = 0; head < 2; ++head) std::swap(k[head * 24], k[head * 24 + 1]);
    for (const char* part : {".weight", ".bias"}) {
      at::Tensor &tq = tensors.at(linear_name(config_, 0, Proj::kQ) + part),
                 &tk = tensors.at(linear_name(config_, 0, Proj::kK) + part);
      tq = permute_dim(tq, 0, q);
      tk = permute_dim(tk, 0, k);
    }
  });
  // The products q k are the same numbers, but rotated by other frequencies.
  EXPECT_GT(max_error(logits_of(*open_dense_model(dir.path()), ids_), logits({})), 100 * tolerance());
}

TEST_F(FoldedTinyGqa, RefusesOrdersThatAreNone) {
  const auto refusal = [&](auto change) {
    FoldedOrder order = random_folded_order(
        config_, {.residual = true, .mlp = true, .value = true, .kv_heads = true, .query_heads = true}, 1);
    change(order);
    return error_text<FormatError>([&] { check_folded_order(config_, order); });
  };
  EXPECT_THAT(refusal([](FoldedOrder& o) { o.residual.pop_back(); }),
              AllOf(HasSubstr("residual"), HasSubstr("63 entries")));
  EXPECT_THAT(refusal([](FoldedOrder& o) { o.layers.pop_back(); }), HasSubstr("got 1 layers, expected 2"));
  EXPECT_THAT(refusal([](FoldedOrder& o) { o.layers[1].mlp[0] = o.layers[1].mlp[1]; }),
              HasSubstr("mlp order of layer 1"));
  EXPECT_THAT(refusal([](FoldedOrder& o) { o.layers[0].mlp[3] = 96; }), HasSubstr("mlp order of layer 0"));
  EXPECT_THAT(refusal([](FoldedOrder& o) { o.layers[0].mlp[3] = -1; }), HasSubstr("mlp order of layer 0"));
  EXPECT_THAT(refusal([](FoldedOrder& o) { o.layers[0].kv_heads.push_back(2); }),
              HasSubstr("KV head order of layer 0"));
  EXPECT_THAT(refusal([](FoldedOrder& o) { o.layers[1].value.pop_back(); }), HasSubstr("got 1 heads, expected 2"));
  EXPECT_THAT(refusal([](FoldedOrder& o) { o.layers[1].query_heads[1] = {0, 0}; }), HasSubstr("layer 1"));
  const auto construct = [&] {
    FoldedOrder order;
    order.residual = {0, 1, 1};
    const DenseWeights weights(std::make_shared<Checkpoint>(tiny_gqa()), config_, order);
  };
  EXPECT_THAT(error_text<FormatError>(construct), HasSubstr("residual"));
}

TEST(Permutation, InverseUndoesIt) {
  // perm[new] = old: the inverse of (2 0 1) sends 2 -> 0, 0 -> 1, 1 -> 2.
  EXPECT_EQ(inverse({2, 0, 1}), (Permutation{1, 2, 0}));
  Rng rng(3);
  const Permutation perm = random_order(50, rng);
  Permutation identity(50);
  std::iota(identity.begin(), identity.end(), 0);
  EXPECT_EQ(compose(perm, inverse(perm)), identity);
  EXPECT_EQ(compose(inverse(perm), perm), identity);
}

TEST(Permutation, ComposeAppliesTheInnerOneFirst) {
  const Permutation inner{2, 0, 1}, outer{1, 0, 2};
  EXPECT_EQ(compose(inner, outer), (Permutation{0, 2, 1}));
  EXPECT_EQ(compose({}, outer), outer);
  EXPECT_EQ(compose(inner, {}), inner);
  const at::Tensor x = random_normal({3, 4}, 1);
  EXPECT_TRUE(at::equal(permute_dim(permute_dim(x, 0, inner), 0, outer), permute_dim(x, 0, compose(inner, outer))));
  EXPECT_EQ(permute_dim(x, 0, inner)[0][0].item<float>(), x[2][0].item<float>());
}

TEST(Permutation, IsRecognised) {
  EXPECT_TRUE(is_permutation_of({1, 0, 2}, 3));
  EXPECT_TRUE(is_permutation_of({}, 0));
  EXPECT_FALSE(is_permutation_of({1, 0, 2}, 4));
  EXPECT_FALSE(is_permutation_of({1, 1, 2}, 3));
  EXPECT_FALSE(is_permutation_of({1, 0, 3}, 3));
  EXPECT_FALSE(is_permutation_of({-1, 0, 1}, 3));
}

}  // namespace
}  // namespace scalebits::test
