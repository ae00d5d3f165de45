// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/decode_session.h"

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/forward.h"
#include "scalebits/run/generate.h"
#include "tests/data.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"
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
struct Packing {
  const char* name;
  Order order;
  const char* model;
};

/// tiny-gqa (biases of q k v), or a mixture of experts, packed at random widths, channels in random orders.
class PackedSession : public testing::TestWithParam<Packing> {
 protected:
  PackedSession() {
    init_torch();
    const auto checkpoint = std::make_shared<Checkpoint>(source());
    const ModelConfig config = read_hf_config(source());
    Plan plan = test::random_plan(*checkpoint, config, BlockSpec{16, 32, 32}, 7);
    const Order order = GetParam().order;
    if (order != Order::kFolded) test::draw_fused_orders(plan, config, order == Order::kTied, 3);
    plan.quantizer = "rtn";
    plan.vocab = {4, 6};
    write_packed(checkpoint, config, plan, {}, Json::object(), dir_.path(), silent_log());
  }
  static fs::path source() { return test::source_dir() / "tests/model/golden" / GetParam().model; }
  [[nodiscard]] std::unique_ptr<ModelWeights> open() const { return open_model(dir_.path()); }
  [[nodiscard]] std::vector<float> logits(const Sequence& ids, const DecodeOptions& options = {}) const {
    const auto model = open();
    DecodeSession session(*model, static_cast<int64_t>(ids.size()), options);
    return copy(session.push(ids));
  }

  test::TempDir dir_;
};
INSTANTIATE_TEST_SUITE_P(Mode, PackedSession,
                         testing::Values(Packing{"Folded", Order::kFolded, "tiny-gqa"},
                                         Packing{"Fused", Order::kFused, "tiny-gqa"},
                                         Packing{"Tied", Order::kTied, "tiny-gqa"},
                                         Packing{"Mixtral", Order::kFolded, "moe/mixtral"},
                                         Packing{"MixtralFused", Order::kFused, "moe/mixtral"},
                                         Packing{"Qwen3Moe", Order::kFolded, "moe/qwen3_moe"}),
                         [](const auto& info) { return info.param.name; });

/// Keys and values are f16, off by at most 2^-11 of each, and errors of many do not add up; all else is f32. With
/// experts it comes in twice: in what they compute from, and in the weights that the router gives them.
TEST_P(PackedSession, ComputesWhatTheTransformerDoes) {
  DecodeOptions exact;
  exact.activations = Activations::kFloat;
  const auto model = open();
  const double bound = model->config().experts.n_experts > 0 ? 0x1p-10 : 0x1p-11;
  EXPECT_LT(distance(logits(kIds, exact), by_transformer(*model, kIds)), bound);
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

/// The demo model is bf16, a copy with config.json's word for it but f32 tensors is not.
TEST(DecodeSession, RunsDenseModelsInTheDtypeOfTheirTensors) {
  const test::TempDir dir;
  test::copy_model(test::demo_model(), dir / "f32", [](auto&) {});
  const std::vector<float> expected = by_transformer(*open_model(test::demo_model()), kIds);
  for (const bool half : {true, false}) {
    const auto model = open_for_generation(half ? test::demo_model() : dir / "f32");
    ASSERT_EQ(model->dtype(), half ? at::kBFloat16 : at::kFloat);
    DecodeSession together(*model, 20), alone(*model, 20);
    // bf16 activations have 8 bits; one token at a time they are f32.
    EXPECT_LT(distance(together.push(kIds), expected), half ? 0.03 : 0x1p-11);
    std::vector<float> last;
    for (const TokenId id : kIds) last = copy(alone.push(Sequence{id}));
    EXPECT_LT(distance(last, expected), 0x1p-11);
  }
}

/// Layers that a plan leaves dense, beside packed ones.
TEST(DecodeSession, RunsModelsThatArePartlyDense) {
  const test::TempDir dir;
  const auto checkpoint = std::make_shared<Checkpoint>(test::demo_model());
  const ModelConfig config = read_hf_config(test::demo_model());
  Plan plan = test::random_plan(*checkpoint, config, BlockSpec{32, 128, 128}, 7);
  plan.quantizer = "rtn";
  std::erase_if(plan.linears, [](const LinearPlan& linear) { return linear.name.find("k_proj") != std::string::npos; });
  write_packed(checkpoint, config, plan, {}, Json::object(), dir.path(), silent_log());
  DecodeOptions exact;
  exact.activations = Activations::kFloat;
  const auto model = open_model(dir.path());
  DecodeSession session(*model, 20, exact);
  EXPECT_LT(distance(session.push(kIds), by_transformer(*model, kIds)), 0x1p-11);
}

/// What is beyond f16 becomes its greatest number, in keys and in values, and nothing becomes NaN.
TEST(LayerCache, ClampsWhatF16CannotHold) {
  ModelConfig config;
  config.n_heads = config.n_kv_heads = 1;
  config.head_dim = 2;
  config.rope_theta = 10000;
  LayerCache cache(config, DecoderLayer{}, 4);
  const RopeTable rope(config, 4);
  const std::vector<float> q = {0, 0}, k = {1e9F, -1e9F}, v = {1e9F, -7};
  std::vector<float> queries(2), out(2);
  cache.attend(rope, {q, k, v}, 1, 0, queries, out);
  EXPECT_EQ(out, (std::vector<float>{65504, -7}));
}

TEST(DecodeSession, RefusesMoreThanTheContext) {
  const auto model = open_model(test::demo_model());
  EXPECT_THAT(error_text<InvalidArgument>([&] { DecodeSession session(*model, 513); }),
              HasSubstr("got 513 tokens, expected at most 512"));
}

}  // namespace
}  // namespace scalebits
