// SPDX-License-Identifier: Apache-2.0
// Forward passes over many sequences, and the store of their activations.
#include "scalebits/calibrate/forward.h"

#include <gtest/gtest.h>

#include <atomic>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/activation_store.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

using ::testing::HasSubstr;

TEST(ForEachHidden, GivesWhatEachSequenceAloneGives) {
  const auto weights = open_dense_model(tiny_gqa());
  const std::vector<Sequence> sequences = random_sequences(9, 24, 1);
  // One activation of 24 positions is 24 * 64 * 4 bytes: everything at once, four at a time, one per thread.
  for (const int64_t bytes : {int64_t{1} << 30, int64_t{4 * 24 * 64 * 4}, int64_t{0}}) {
    std::vector<at::Tensor> hidden(sequences.size());
    std::atomic<int> calls = 0;
    for_each_hidden(
        *weights, sequences,
        [&](int64_t i, const at::Tensor& h) {
          hidden[static_cast<size_t>(i)] = h;
          ++calls;
        },
        bytes);
    EXPECT_EQ(calls, 9);
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_TRUE(at::equal(hidden[i], hidden_of(*weights, sequences[i]))) << i << " of " << bytes;
    }
  }
}

TEST(MeanLoss, IsTheMeanOverPositionsNotOverSequences) {
  const GoldenFile golden(tiny_gqa() / "golden.safetensors");
  const auto weights = open_dense_model(tiny_gqa());
  std::vector<Sequence> rows = golden.sequences();
  EXPECT_NEAR(mean_loss(LossKind::kCe, *weights, rows, {}), golden.number("loss"), 1e-5);
  rows[1].resize(5);
  const at::Tensor nll = golden["token_nll"].to(at::kDouble);
  const double expected = (nll[0].sum() + nll[1].narrow(0, 0, 4).sum()).item<double>() / (23 + 4);
  EXPECT_NEAR(mean_loss(LossKind::kCe, *weights, rows, {}), expected, 1e-5);
}

TEST(MeanLoss, OfTheReferenceModelItselfIsZero) {
  const auto weights = open_dense_model(tiny_gqa());
  const std::vector<Sequence> sequences = random_sequences(3, 24, 1);
  EXPECT_EQ(mean_loss(LossKind::kKl, *weights, sequences, reference_hidden(*weights, sequences)), 0.0);
}

TEST(MeanLoss, DoesNotDependOnThreads) {
  QuantizedCase c;
  c.draw_widths(1, 8, 1);
  const std::vector<Sequence> sequences = random_sequences(12, 24, 1);
  const std::vector<at::Tensor> reference = reference_hidden(*c.dense, sequences);
  std::vector<double> losses;
  for (const int n : {1, 2, 3}) {
    set_num_threads(n);
    losses.push_back(mean_loss(LossKind::kKl, c.weights, sequences, reference));
  }
  set_num_threads(0);
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_EQ(losses[0], losses[2]);
  EXPECT_GT(losses[0], 0.0);
}

TEST(MeanLoss, NamesTheSequenceWhoseLossIsNotFinite) {
  const TempDir dir;
  copy_model(tiny_gqa(), dir.path(), [](auto& tensors) { tensors.at("lm_head.weight").fill_(3e38); });
  const auto weights = open_dense_model(dir.path());
  const std::vector<Sequence> sequences = random_sequences(2, 24, 1);
  EXPECT_THAT(error_text<Error>([&] { mean_loss(LossKind::kCe, *weights, sequences, {}); }), HasSubstr("sequence 0"));
}

TEST(ActivationStore, GivesBackWhatWasPutInMemoryAndInTheFile) {
  const TempDir dir;
  const at::Tensor a = random_normal({1, 7, 5}, 1), b = random_normal({1, 3, 5}, 2), c = random_normal({1, 7, 5}, 3);
  for (const int64_t ram : {int64_t{3 * 140}, int64_t{3 * 140 - 1}}) {
    ActivationStore store(3, 140, ram, dir.path());
    EXPECT_EQ(store.spilled(), ram < 3 * 140);
    store.put(2, c);
    store.put(0, a);
    store.put(1, b.transpose(1, 2).contiguous().transpose(1, 2));  // not contiguous
    EXPECT_TRUE(at::equal(store.get(0), a));
    EXPECT_TRUE(at::equal(store.get(1), b));
    EXPECT_TRUE(at::equal(store.get(2), c));
    store.put(0, b);
    EXPECT_TRUE(at::equal(store.get(0), b));
    EXPECT_TRUE(at::equal(store.get(2), c));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace scalebits::test
