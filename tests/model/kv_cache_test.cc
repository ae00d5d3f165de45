// SPDX-License-Identifier: Apache-2.0
// Decoding with a key-value cache gives what the whole sequence at once gives.
#include <gtest/gtest.h>

#include "tests/model/golden.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

/// Logits of `ids` fed in pieces of these lengths.
at::Tensor logits_in_pieces(const ModelWeights& weights, const Ids& ids, const std::vector<int64_t>& pieces,
                            int64_t capacity) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = weights.config();
  const RopeTable rope(config, capacity);
  std::vector<KvCache> caches;
  for (int64_t l = 0; l < config.n_layers; ++l) caches.emplace_back(config, 1, capacity, at::kFloat);
  // What was never written must not matter.
  for (KvCache& cache : caches) {
    cache.k.fill_(1e30);
    cache.v.fill_(1e30);
  }
  std::vector<at::Tensor> logits;
  int64_t position = 0;
  for (const int64_t n : pieces) {
    at::Tensor x = weights.embed(std::span(ids).subspan(static_cast<size_t>(position), static_cast<size_t>(n)));
    for (int64_t l = 0; l < config.n_layers; ++l) {
      x = decoder_layer_forward(config, weights.layer(l), rope, x, position, &caches[static_cast<size_t>(l)], nullptr);
    }
    logits.push_back(weights.logits(weights.final_hidden(x)).squeeze(0));
    position += n;
  }
  EXPECT_EQ(position, static_cast<int64_t>(ids.size()));
  return at::cat(logits, 0);
}

/// Both ways are f32 runs of the same equations, each within the golden file's float32 error (times 8, see
/// golden_test.cc) of the exact values.
void expect_same_in_pieces(const std::filesystem::path& model, const GoldenFile& golden) {
  init_torch();
  const auto weights = open_dense_model(model);
  const Ids ids = golden.sequences()[0];
  const auto n = static_cast<int64_t>(ids.size());
  const at::Tensor whole = logits_of(*weights, ids);
  const double tolerance = 16 * golden.number("float32_logit_error");
  const std::vector<std::vector<int64_t>> cuts = {
      std::vector<int64_t>(ids.size(), 1), {7, 1, n - 8}, {n - 2, 1, 1}, {n}};
  for (const auto& pieces : cuts) {
    EXPECT_LT(max_error(logits_in_pieces(*weights, ids, pieces, n + 5), whole), tolerance)
        << pieces.size() << " pieces";
  }
}

TEST(KvCache, GivesTheLogitsOfTheWholeSequenceForTinyGqa) {
  expect_same_in_pieces(tiny_gqa(), GoldenFile(tiny_gqa() / "golden.safetensors"));
}

TEST(KvCache, GivesTheLogitsOfTheWholeSequenceForDemo) {
  expect_same_in_pieces(demo_model(), GoldenFile(golden_dir() / "demo-5m.safetensors"));
}

/// Windows, caps, norms of heads, and angles that depend on the layer.
TEST(KvCache, GivesTheLogitsOfTheWholeSequenceForOtherFamilies) {
  for (const char* family : {"gemma2", "gemma3", "phi3"}) {
    const std::filesystem::path dir = golden_dir() / "families" / family;
    expect_same_in_pieces(dir, GoldenFile(dir / "golden.safetensors"));
  }
}

TEST(KvCache, ReadsEarlierTokens) {
  const auto weights = open_dense_model(tiny_gqa());
  const GoldenFile golden(tiny_gqa() / "golden.safetensors");
  Ids ids = golden.sequences()[0];
  const at::Tensor before = logits_in_pieces(*weights, ids, {20, 4}, 24);
  ids[3] = (ids[3] + 1) % 128;
  const at::Tensor after = logits_in_pieces(*weights, ids, {20, 4}, 24);
  EXPECT_EQ(max_error(after.narrow(0, 0, 3), before.narrow(0, 0, 3)), 0.0);
  EXPECT_GT(max_error(after.narrow(0, 23, 1), before.narrow(0, 23, 1)), 1e-2);
}

TEST(KvCache, HasRoomForExactlyItsCapacity) {
  const auto weights = open_dense_model(tiny_gqa());
  const GoldenFile golden(tiny_gqa() / "golden.safetensors");
  const Ids ids = golden.sequences()[0];
  EXPECT_NO_THROW(logits_in_pieces(*weights, ids, {20, 4}, 24));
  EXPECT_THROW(logits_in_pieces(*weights, ids, {20, 4}, 23), std::exception);
}

}  // namespace
}  // namespace scalebits::test
