// SPDX-License-Identifier: Apache-2.0
// Every dense family on a tiny model that has all of its features on (tests/model/golden/families), against Hugging
// Face transformers, and through packing, export, generation and verification.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scalebits/report/verify.h"
#include "scalebits/run/decode_session.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/model/whole_model.h"
#include "tests/pack/random_plan.h"

namespace scalebits::test {
namespace {

namespace fs = std::filesystem;

/// transformers keeps norms, softmax and rotary angles in f32 whatever the dtype, and the golden file tells how far its
/// own f32 run is off; ours is another one. The bounds are ten times this.
constexpr double kTimesFloat32 = 8.0;

class Family : public testing::TestWithParam<const char*> {
 protected:
  static fs::path dir() { return golden_dir() / "families" / GetParam(); }
  [[nodiscard]] double tolerance() const { return kTimesFloat32 * golden_.number("float32_logit_error"); }
  [[nodiscard]] std::shared_ptr<const Checkpoint> checkpoint() const { return open_checkpoint(dir(), config_); }
  [[nodiscard]] Plan plan(uint64_t seed) const {
    Plan plan = random_plan(*checkpoint(), config_, BlockSpec{16, 32, 16}, seed);
    plan.quantizer = "rtn";
    return plan;
  }
  [[nodiscard]] fs::path pack(const Plan& plan) const {
    const fs::path packed = scratch_ / "packed";
    fs::create_directories(packed);
    write_packed(checkpoint(), config_, plan, {}, Json::object(), packed, silent_log());
    return packed;
  }
  [[nodiscard]] fs::path export_of(const fs::path& packed) const {
    const fs::path dense = scratch_ / "export";
    fs::create_directories(dense);
    write_dense(packed, DType::kF32, dense, silent_log());
    return dense;
  }

  Family() { init_torch(); }
  const ModelConfig config_ = read_hf_config(dir());
  const GoldenFile golden_{dir() / "golden.safetensors"};
  const std::vector<Ids> rows_ = golden_.sequences();
  const TempDir scratch_;
};
INSTANTIATE_TEST_SUITE_P(Dense, Family,
                         testing::Values("mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm2"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(Family, LogitsEqualThoseOfTransformers) {
  const auto weights = open_dense_model(dir());
  ASSERT_LT(tolerance(), 1e-4 * max_magnitude(golden_["logits"]));
  for (size_t i = 0; i < rows_.size(); ++i) {
    const auto n = static_cast<int64_t>(i);
    const at::Tensor logits = logits_of(*weights, rows_[i]);
    EXPECT_LT(max_error(logits, golden_["logits"][n]), tolerance());
    EXPECT_LT(max_error(token_nll(logits, rows_[i]), golden_["token_nll"][n]), 2 * tolerance());
  }
}

TEST_P(Family, GradientsEqualThoseOfTransformers) {
  const auto gradients = weight_gradients(*open_dense_model(dir()), rows_);
  const double bound = kTimesFloat32 * golden_.number("float32_gradient_error");
  ASSERT_LT(bound, 1e-3);
  ASSERT_EQ(golden_.names("grad_norm.").size(), gradients.size());
  for (const auto& [name, gradient] : gradients) {
    const double size = golden_["grad_norm." + name].item<double>();
    EXPECT_NEAR(frobenius(gradient), size, bound * size) << name;
    const at::Tensor entries = gradient.reshape({-1}).index_select(0, golden_["grad_index." + name]);
    EXPECT_LT(max_error(entries, golden_["grad_value." + name]), bound * size) << name;
  }
}

TEST_P(Family, FoldedOrdersLeaveTheLogits) {
  const at::Tensor plain = logits_of(*open_dense_model(dir()), rows_[0]);
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    const DenseWeights folded(checkpoint(), config_, random_order(config_, seed));
    EXPECT_LT(max_error(logits_of(folded, rows_[0]), plain), 2 * tolerance());
  }
}

/// The same f32 weights, but for the order of sums where few tokens are multiplied.
TEST_P(Family, PackedLogitsEqualThoseOfTheExport) {
  for (const bool fused : {false, true}) {
    Plan chosen = plan(7);
    chosen.vocab = {5, config_.tied_embeddings ? 5 : 6};
    if (fused) draw_fused_orders(chosen, config_, true, 3);
    const fs::path packed = pack(chosen), dense = export_of(packed);
    const at::Tensor expected = logits_of(*open_dense_model(dense), rows_[0]);
    EXPECT_LT(max_error(logits_of(*open_model(packed), rows_[0]), expected), 1e-5 * max_magnitude(expected));
    // The export has the tensors that the family's checkpoints have.
    EXPECT_EQ(Checkpoint(dense).names(), Checkpoint(dir()).names());
    EXPECT_THAT(verify_model(packed, silent_log()).problems, testing::IsEmpty());
    EXPECT_THAT(verify_model(dense, silent_log()).problems, testing::IsEmpty());
    fs::remove_all(packed);
  }
}

/// One token at a time, behind each of which the logits are those of the transformer, beyond the window too. Keys and
/// values are f16, off by at most 2^-11 of each; scores of these models reach 8, and an error of a score is a relative
/// one of its probability: 8 * 2^-11. A window that is one key off changes logits by some percent.
TEST_P(Family, GenerationComputesWhatTheTransformerDoes) {
  const fs::path packed = pack(plan(7));
  const auto model = open_model(packed);
  const at::Tensor expected = logits_of(*model, rows_[0]);
  DecodeOptions exact;
  exact.activations = Activations::kFloat;
  const auto n = static_cast<int64_t>(rows_[0].size());
  DecodeSession session(*model, n, exact);
  const auto distance = [&](std::span<const float> got, int64_t t) {
    const at::Tensor row = at::from_blob(const_cast<float*>(got.data()), {config_.vocab_size}, at::kFloat);
    return relative_error(row, expected[t]);
  };
  for (int64_t t = 0; t < n; ++t) {
    EXPECT_LT(distance(session.push({&rows_[0][static_cast<size_t>(t)], 1}), t), 0x1p-8) << "token " << t;
  }
  session.rewind(3);
  EXPECT_LT(distance(session.push(std::span(rows_[0]).subspan(3)), n - 1), 0x1p-8) << "as a prompt";
}

/// As packed models with activations in 8 bits, which is what `generate` runs.
TEST_P(Family, RoundedActivationsAreNear) {
  Plan chosen = plan(7);
  for (LinearPlan& linear : chosen.linears) std::fill(linear.bits.begin(), linear.bits.end(), uint8_t{6});
  const auto model = open_model(pack(chosen));
  const at::Tensor expected = logits_of(*model, rows_[0])[-1];
  DecodeSession session(*model, static_cast<int64_t>(rows_[0].size()));
  const std::span<const float> got = session.push(rows_[0]);
  const at::Tensor row = at::from_blob(const_cast<float*>(got.data()), {config_.vocab_size}, at::kFloat);
  EXPECT_LT(relative_error(row, expected), 0.03);
}

}  // namespace
}  // namespace scalebits::test
