// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/decode_session.h"

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/forward.h"
#include "tests/data.h"
#include "tests/io/error_text.h"
#include "tests/pack/random_plan.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using test::error_text;
using testing::HasSubstr;

const Sequence kIds = {3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38, 46, 26, 43, 38, 32, 79, 50, 28};

std::vector<float> copy(std::span<const float> logits) { return {logits.begin(), logits.end()}; }

/// Logits behind the last of `ids`, by the transformer of model/.
std::vector<float> by_transformer(const ModelWeights& weights, const Sequence& ids) {
  const at::Tensor hidden = reference_hidden(weights, std::vector<Sequence>{ids})[0];
  const at::Tensor logits = weights.logits(hidden.narrow(0, hidden.size(0) - 1, 1)).contiguous();
  return {logits.data_ptr<float>(), logits.data_ptr<float>() + logits.numel()};
}

/// ||a - b|| / ||b||
double distance(std::span<const float> a, std::span<const float> b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i] - b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

enum class Order { kFolded, kFused, kTied };

/// tiny-gqa (biases of q k v) packed at random widths, channels in random orders.
class PackedSession : public testing::TestWithParam<Order> {
 protected:
  PackedSession() {
    init_torch();
    const auto checkpoint = std::make_shared<Checkpoint>(source());
    const ModelConfig config = read_hf_config(source());
    Plan plan = test::random_plan(*checkpoint, config, BlockSpec{16, 32, 32}, 7);
    if (GetParam() != Order::kFolded) test::draw_fused_orders(plan, config, GetParam() == Order::kTied, 3);
    plan.quantizer = "rtn";
    plan.vocab = {4, 6};
    write_packed(checkpoint, config, plan, {}, Json::object(), dir_.path(), silent_log());
  }
  static fs::path source() { return test::source_dir() / "tests/model/golden/tiny-gqa"; }
  [[nodiscard]] std::unique_ptr<ModelWeights> open() const { return open_model(dir_.path()); }
  [[nodiscard]] std::vector<float> logits(const Sequence& ids, const DecodeOptions& options = {}) const {
    const auto model = open();
    DecodeSession session(*model, static_cast<int64_t>(ids.size()), options);
    return copy(session.push(ids));
  }

  test::TempDir dir_;
};
INSTANTIATE_TEST_SUITE_P(Mode, PackedSession, testing::Values(Order::kFolded, Order::kFused, Order::kTied),
                         [](const auto& test) {
                           return test.param == Order::kFolded  ? "Folded"
                                  : test.param == Order::kFused ? "Fused"
                                                                : "Tied";
                         });

/// Keys and values are f16, 2^-12 of each; all else is f32.
TEST_P(PackedSession, ComputesWhatTheTransformerDoes) {
  DecodeOptions exact;
  exact.activations = Activations::kFloat;
  EXPECT_LT(distance(logits(kIds, exact), by_transformer(*open(), kIds)), 0x1p-11);
}

/// 8 bits are half a step of 1/127 of a group's greatest: about 0.3 % of a typical value for each of 14 products.
TEST_P(PackedSession, RoundedActivationsAreNear) {
  const double rounded = distance(logits(kIds), by_transformer(*open(), kIds));
  EXPECT_LT(rounded, 0.03);
  EXPECT_GT(rounded, 0x1p-11);  // they are rounded
}

/// Bit for bit: prompts and single tokens are the same arithmetic.
TEST_P(PackedSession, ChunksAndThreadsDoNotMatter) {
  const std::vector<float> whole = logits(kIds);
  for (const int64_t chunk : {1, 3, 8, 11}) {
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      DecodeOptions options;
      options.chunk = chunk;
      EXPECT_EQ(logits(kIds, options), whole) << chunk << " tokens at once, " << threads << " threads";
    }
  }
  set_num_threads(0);
}

TEST_P(PackedSession, GoesOnFromWhereItWasRewoundTo) {
  const auto model = open();
  DecodeSession session(*model, 40);
  session.push(kIds);
  session.rewind(5);
  session.push(Sequence{7, 7, 7});
  session.rewind(5);
  EXPECT_EQ(session.position(), 5);
  EXPECT_EQ(copy(session.push(Sequence(kIds.begin() + 5, kIds.end()))), logits(kIds));
}

/// Dense models, whose weights are f32 here and bf16 in the second: 2^-9 for each weight and activation.
TEST(DecodeSession, RunsDenseModels) {
  for (const char* name : {"tiny-gqa", "tiny-llama3"}) {
    const fs::path dir = test::source_dir() / "tests/model/golden" / name;
    if (!fs::exists(dir)) continue;
    const auto exact = open_model(dir);
    const std::vector<float> expected = by_transformer(*exact, kIds);
    const auto half = open_model(dir, at::kBFloat16);
    DecodeSession half_session(*half, 20);
    const auto full = open_model(dir);
    DecodeSession full_session(*full, 20);
    EXPECT_LT(distance(full_session.push(kIds), expected), 0x1p-11) << name;
    EXPECT_LT(distance(half_session.push(kIds), expected), 0.03) << name;
  }
}

TEST(DecodeSession, RefusesMoreThanTheContext) {
  const auto model = open_model(test::demo_model());
  EXPECT_THAT(error_text<InvalidArgument>([&] { DecodeSession session(*model, 513); }),
              HasSubstr("got 513 tokens, expected at most 512"));
}

}  // namespace
}  // namespace scalebits
