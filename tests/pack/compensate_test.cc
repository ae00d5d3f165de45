// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/compensate.h"

#include <gtest/gtest.h>

#include "scalebits/base/parallel.h"
#include "scalebits/pack/pack.h"
#include "scalebits/quantize/pack_linear.h"
#include "tests/data.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/pack/random_plan.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;

/// Sequences of a fixed pseudo-random walk over the vocabulary.
std::vector<Sequence> sequences(const ModelConfig& config, int64_t n, int64_t length, uint64_t seed) {
  Rng rng(seed);
  std::vector<Sequence> all(static_cast<size_t>(n));
  for (Sequence& s : all) {
    for (int64_t t = 0; t < length; ++t) {
      s.push_back(static_cast<TokenId>(rng.below(static_cast<uint64_t>(config.vocab_size))));
    }
  }
  return all;
}

/// A model, a plan for it, and calibration ids; `bits` 0 = random widths.
class Compensated {
 public:
  Compensated(const fs::path& model, BlockSpec spec, int bits, int64_t length)
      : config_(read_hf_config(model)),
        checkpoint_(open_checkpoint(model, config_)),
        plan_(test::random_plan(*checkpoint_, config_, spec, 7)) {
    plan_.quantizer = "gptq";
    if (bits > 0) {
      for (LinearPlan& linear : plan_.linears) std::fill(linear.bits.begin(), linear.bits.end(), uint8_t(bits));
    }
    calib_.gradient = sequences(config_, 6, length, 1);
    calib_.heldout = sequences(config_, 2, length, 2);
    calib_.heldout[1].resize(static_cast<size_t>(length / 2));
  }

  [[nodiscard]] std::unique_ptr<QuantizedWeights> rounded_alone() const {
    QuantizedLayers layers = test::layers_of(plan_, config_);
    layers.vocab = plan_.vocab;
    auto weights = std::make_unique<QuantizedWeights>(std::make_shared<DenseWeights>(checkpoint_, config_, plan_.order),
                                                      layers, group_quantizer("clip"));
    for (size_t i = 0; i < plan_.linears.size(); ++i) weights->set_bits(i, plan_.linears[i].bits);
    return weights;
  }
  CompensatedModel run(const PassOptions& pass = {}) {
    const auto weights = rounded_alone();
    std::vector<Sequence> all = calib_.gradient;
    all.insert(all.end(), calib_.heldout.begin(), calib_.heldout.end());
    return compensate(*weights, plan_, calib_, root_token_weights(*weights, all, pass), pass, silent_log());
  }
  /// From the logits of both, because a packed model's head has its own channel order. All texts in one pass, as
  /// compensation reads them: with longrope the longest decides about the angles of all.
  [[nodiscard]] double kl(const ModelWeights& weights) const {
    const auto exact = logits(DenseWeights(checkpoint_, config_)), packed = logits(weights);
    double nats = 0;
    int64_t positions = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      nats += kl_divergence(exact[i], packed[i], nullptr);
      positions += exact[i].size(0);
    }
    return nats / static_cast<double>(positions);
  }
  [[nodiscard]] std::vector<at::Tensor> logits(const ModelWeights& weights) const {
    std::vector<at::Tensor> logits(calib_.heldout.size());
    for_each_hidden(weights, calib_.heldout,
                    [&](int64_t i, const at::Tensor& h) { logits[static_cast<size_t>(i)] = weights.logits(h); });
    return logits;
  }

  ModelConfig config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  Plan plan_;
  CalibSet calib_;
};

fs::path tiny() { return test::source_dir() / "tests/model/golden/tiny-gqa"; }

/// Both run in f32 on the same decoded weights, but for the order of sums.
void expect_reported_loss_is_that_of_the_file(Compensated& tested) {
  const CompensatedModel model = tested.run();
  const test::TempDir dir;
  write_packed(tested.checkpoint_, tested.config_, tested.plan_, {.ready = model.matrices}, Json::object(), dir.path(),
               silent_log());
  const double packed = tested.kl(*open_model(dir.path()));
  EXPECT_NEAR(model.heldout_kl, packed, 1e-4 * packed);
}

TEST(Compensate, ReportsTheLossOfWhatIsPacked) {
  // Embedding and head too: a KL from a reference that reads the packed head would be another one.
  for (const VocabBits vocab : {VocabBits{}, VocabBits{3, 2}}) {
    Compensated tested(tiny(), BlockSpec{16, 32, 32}, 0, 24);
    tested.plan_.vocab = vocab;
    expect_reported_loss_is_that_of_the_file(tested);
  }
}

/// Windows, norms behind o and down, fused tensors.
TEST(Compensate, ReportsTheLossOfWhatIsPackedForOtherFamilies) {
  for (const char* family : {"gemma2", "gemma3", "phi3"}) {
    Compensated tested(tiny().parent_path() / "families" / family, BlockSpec{16, 32, 16}, 0, 24);
    expect_reported_loss_is_that_of_the_file(tested);
  }
}

TEST(Compensate, ReportsTheLossOfWhatIsPackedInOrdersOfTheirOwn) {
  Compensated tested(tiny(), BlockSpec{16, 32, 32}, 0, 24);
  test::draw_fused_orders(tested.plan_, tested.config_, true, 3);
  expect_reported_loss_is_that_of_the_file(tested);
}

/// With the wrong order of the Hessian, errors would be fed into channels that have nothing to do with them.
TEST(Compensate, LowersTheLossOfATrainedModelInOrdersOfTheirOwn) {
  Compensated tested(test::demo_model(), BlockSpec{32, 128, 128}, 2, 128);
  test::draw_fused_orders(tested.plan_, tested.config_, false, 3);
  EXPECT_LT(tested.run().heldout_kl, 0.9 * tested.kl(*tested.rounded_alone()));
}

TEST(Compensate, LowersTheLossOfATrainedModel) {
  Compensated tested(test::demo_model(), BlockSpec{32, 128, 128}, 2, 128);
  EXPECT_LT(tested.run().heldout_kl, 0.9 * tested.kl(*tested.rounded_alone()));
}

/// The demo model with factors of 2 and 1/2 moved from the columns of q k v into the norm before them, and the other
/// way round for gate and up: the same function, but which channels are loud depends on the norm.
void write_with_uneven_norms(const fs::path& dir) {
  test::copy_model(test::demo_model(), dir, [](std::map<std::string, at::Tensor>& tensors) {
    const at::Tensor even = at::arange(256).remainder(2).mul(-1.5).add(2.0).to(at::kFloat), odd = even.reciprocal();
    for (auto& [name, tensor] : tensors) {
      const auto is = [&](const char* part) { return name.find(part) != std::string::npos; };
      if (is("input_layernorm") || is("gate_proj") || is("up_proj")) tensor = tensor * even;
      if (is("post_attention_layernorm") || is("q_proj") || is("k_proj") || is("v_proj")) tensor = tensor * odd;
    }
  });
}

TEST(Compensate, SeesInputsAfterTheNormThatIsBeforeThem) {
  const test::TempDir dir;
  write_with_uneven_norms(dir.path());
  Compensated tested(dir.path(), BlockSpec{32, 128, 128}, 3, 128);
  EXPECT_LT(tested.run().heldout_kl, 0.6 * tested.kl(*tested.rounded_alone()));  // with the other norm: 1.35 times
}

TEST(Compensate, DoesNotDependOnThreadsOrOnWhereActivationsAreKept) {
  Compensated tested(tiny(), BlockSpec{16, 32, 32}, 0, 24);
  set_num_threads(1);
  const CompensatedModel one = tested.run();
  set_num_threads(3);
  const test::TempDir dir;
  PassOptions spill;
  spill.activation_bytes = 0;
  spill.spill_dir = dir.path();
  const CompensatedModel three = tested.run(spill);
  set_num_threads(0);
  EXPECT_EQ(one.heldout_kl, three.heldout_kl);
  for (size_t i = 0; i < one.matrices.size(); ++i) {
    const PackedView a = one.matrices[i].view(), b = three.matrices[i].view();
    EXPECT_TRUE(std::ranges::equal(a.codes, b.codes) && std::ranges::equal(a.scales, b.scales) &&
                std::ranges::equal(a.zeros, b.zeros))
        << i;
  }
}

/// At 8 bits but for the first `coarse` matrices, at 2: what the matrices after these do about it is all that matters.
class Drift : public Compensated {
 public:
  explicit Drift(size_t coarse) : Compensated(test::demo_model(), BlockSpec{32, 128, 128}, 8, 512) {
    for (size_t i = 0; i < coarse; ++i) std::fill(plan_.linears[i].bits.begin(), plan_.linears[i].bits.end(), 2);
    model_ = run();
  }
  /// KL with the first n matrices as compensated, the others rounded for themselves.
  [[nodiscard]] double kl_with(size_t n) const {
    std::vector<PackedMatrix> matrices = model_.matrices;
    const auto weights = rounded_alone();
    for (size_t i = n; i < matrices.size(); ++i) {
      const at::Tensor w = weights->stored_weight(i);
      const std::span<const float> values(w.data_ptr<float>(), static_cast<size_t>(w.numel()));
      matrices[i] = pack_linear(plan_.linears[i], values, group_quantizer("clip"));
    }
    const test::TempDir dir;
    write_packed(checkpoint_, config_, plan_, {.ready = matrices}, Json::object(), dir.path(), silent_log());
    return kl(*open_model(dir.path()));
  }

 private:
  CompensatedModel model_;
};

TEST(Compensate, OutputsMakeUpForTheDriftOfTheirInputs) {
  // q k v of layer 0 are coarse, and the residual stream at its o is that of full precision.
  const Drift tested(3);
  EXPECT_LT(tested.kl_with(4), 0.9 * tested.kl_with(3));
}

TEST(Compensate, LaterLayersMakeUpForTheResidualStream) {
  const Drift tested(kProjections.size());
  EXPECT_LT(tested.kl_with(tested.plan_.linears.size()), 0.9 * tested.kl_with(kProjections.size()));
}

TEST(TokenWeights, AreTheSameForEveryPlanWithAMeanSquareOfOne) {
  const Compensated one(tiny(), BlockSpec{16, 32, 32}, 2, 24), other(tiny(), BlockSpec{16, 32, 32}, 4, 24);
  const TokenWeights roots = root_token_weights(*one.rounded_alone(), one.calib_.gradient, {});
  const TokenWeights same = root_token_weights(*other.rounded_alone(), other.calib_.gradient, {});
  ASSERT_EQ(roots.size(), one.plan_.linears.size());
  for (size_t i = 0; i < roots.size(); ++i) {
    ASSERT_EQ(roots[i].size(), one.calib_.gradient.size());
    const at::Tensor all = at::cat(roots[i]);
    EXPECT_TRUE(at::equal(all, at::cat(same[i])));
    EXPECT_NEAR(all.square().mean().item<double>(), 1.0, 1e-5);  // of 144 numbers in f32
    EXPECT_GT(all.std().item<double>(), 0.01);                   // tokens differ
  }
}

}  // namespace
}  // namespace scalebits
