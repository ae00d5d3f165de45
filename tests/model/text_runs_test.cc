// SPDX-License-Identifier: Apache-2.0
// Many texts as the rows of one tensor, some continuing others, give what each text alone gives.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/model/golden.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

/// Hidden states behind all layers of texts that share `shared` tokens: those in one tensor, their ends in another.
std::vector<at::Tensor> by_runs(const ModelWeights& weights, const std::vector<Ids>& texts, int64_t shared) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = weights.config();
  const auto longest = std::ranges::max_element(texts, {}, &Ids::size)->size();
  const RopeTable rope(config, static_cast<int64_t>(longest));
  at::Tensor beginning = weights.embed(std::span(texts[0]).first(static_cast<size_t>(shared)));
  std::vector<TokenId> ends;
  KvCache cache;
  std::vector<TextRun> runs;
  for (const Ids& text : texts) {
    const auto count = static_cast<int64_t>(text.size()) - shared;
    runs.push_back({.row = static_cast<int64_t>(ends.size()), .count = count, .position = shared, .before = &cache});
    ends.insert(ends.end(), text.begin() + shared, text.end());
  }
  at::Tensor x = weights.embed(ends);
  const TextRun first{.row = 0, .count = shared, .position = 0, .kept = &cache};
  for (int64_t l = 0; l < config.n_layers; ++l) {
    beginning = decoder_layer_forward(config, weights.layer(l), rope, beginning, {&first, 1});
    x = decoder_layer_forward(config, weights.layer(l), rope, x, runs);
  }
  std::vector<at::Tensor> logits;
  for (const TextRun& run : runs) {
    const at::Tensor whole = at::cat({beginning, x.narrow(1, run.row, run.count)}, 1);
    logits.push_back(weights.logits(weights.final_hidden(whole)).squeeze(0));
  }
  return logits;
}

/// Of every family, since windows, caps, norms of heads and experts are all in the way of a layer.
class TextRuns : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, TextRuns,
                         testing::Values("tiny-gqa", "families/mistral", "families/qwen3", "families/gemma2",
                                         "families/gemma3", "families/phi3", "moe/mixtral", "moe/qwen3_moe"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace_if(
                               name, [](char c) { return c == '-' || c == '/'; }, '_');
                           return name;
                         });

TEST_P(TextRuns, GiveWhatEachTextAloneGives) {
  const auto weights = open_dense_model(golden_dir() / GetParam());
  const GoldenFile golden(golden_dir() / GetParam() / "golden.safetensors");
  const Ids ids = golden.sequences()[0];
  ASSERT_GE(ids.size(), 12U);
  std::vector<Ids> texts;
  for (const size_t n : {7, 12, 8}) texts.emplace_back(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
  texts[1][9] ^= 1;
  texts[2][7] ^= 2;
  // Both are f32 runs of the same equations, as in kv_cache_test.cc.
  const double tolerance = 16 * golden.number("float32_logit_error");
  for (const int64_t shared : {1, 6}) {
    const auto logits = by_runs(*weights, texts, shared);
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_LT(max_error(logits[i], logits_of(*weights, texts[i])), tolerance) << shared << ": " << i;
    }
  }
}

}  // namespace
}  // namespace scalebits::test
