// SPDX-License-Identifier: Apache-2.0
// Mixtures of experts through packing and error compensation.
#include "scalebits/model/experts.h"

#include <gmock/gmock.h>

#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/coverage.h"
#include "scalebits/pack/compensate.h"
#include "scalebits/quantize/pack_linear.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/data.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/pack/random_plan.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

fs::path moe(const std::string& name) { return test::golden_dir() / "moe" / name; }

Sequence draw(size_t n, uint64_t seed) {
  Rng rng(seed);
  Sequence ids(n);
  for (TokenId& id : ids) id = static_cast<TokenId>(rng.below(96));
  return ids;
}

at::Tensor logits_of(const ModelWeights& weights, const Sequence& ids) {
  at::Tensor logits;
  for_each_hidden(weights, std::vector<Sequence>{ids},
                  [&](int64_t, const at::Tensor& h) { logits = weights.logits(h); });
  return logits;
}

class MoePack : public testing::TestWithParam<std::string> {
 protected:
  MoePack() { init_torch(); }
  ~MoePack() override { set_num_threads(0); }

  [[nodiscard]] CompensatedModel compensated(const PassOptions& pass, Log& log = silent_log()) const {
    QuantizedWeights weights(std::make_shared<DenseWeights>(checkpoint_, config_, plan_.order),
                             test::layers_of(plan_, config_), group_quantizer("clip"));
    std::vector<Sequence> all = calib_.gradient;
    all.insert(all.end(), calib_.heldout.begin(), calib_.heldout.end());
    return compensate(weights, plan_, calib_, root_token_weights(weights, all, pass), pass, log);
  }

  std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(moe(GetParam()));
  ModelConfig config_ = read_hf_config(moe(GetParam()));
  Plan plan_ = test::random_plan(*checkpoint_, config_, BlockSpec{16, 16, 16}, 7);
  CalibSet calib_{{draw(24, 1), draw(24, 2), draw(20, 3), draw(24, 4)}, {draw(24, 5)}, "", ""};
  test::TempDir dir_;
};
INSTANTIATE_TEST_SUITE_P(Model, MoePack, testing::Values("mixtral", "qwen3_moe"),
                         [](const auto& info) { return info.param; });

TEST_P(MoePack, PackedModelGivesTheLogitsOfItsDequantizedExport) {
  for (const bool fused : {false, true}) {
    if (fused) test::draw_fused_orders(plan_, config_, true, 3);
    plan_.quantizer = "rtn";
    const fs::path packed = dir_ / (fused ? "fused" : "folded"), dense = packed.string() + "-dense";
    fs::create_directories(packed);
    fs::create_directories(dense);
    write_packed(checkpoint_, config_, plan_, {}, Json::object(), packed, silent_log());
    write_dense(packed, DType::kF32, dense, silent_log());
    const Sequence ids = draw(24, 9);
    const at::Tensor expected = logits_of(*open_model(dense), ids);
    // The same f32 weights; products of few tokens are summed in another order.
    EXPECT_LE((logits_of(*open_model(packed), ids) - expected).abs().max().item<float>(),
              1e-4F * expected.abs().max().item<float>());
  }
}

/// Every expert active: with a choice, a token near the border between two experts may go to the other one, which is no
/// small change of its output.
TEST_P(MoePack, AtEightBitsTheModelIsNearlyTheOriginalWhateverTheOrder) {
  const test::TempDir copy;
  test::copy_model(moe(GetParam()), copy.path(), [](auto&) {});
  Json config = read_json(copy / "config.json");
  config["num_experts_per_tok"] = 8;
  write_text_file(copy / "config.json", config.dump());
  const auto checkpoint = std::make_shared<Checkpoint>(copy.path());
  const ModelConfig all_active = read_hf_config(copy.path());
  ASSERT_EQ(all_active.experts.n_active, all_active.experts.n_experts);
  Plan plan = test::random_plan(*checkpoint, all_active, BlockSpec{16, 16, 16}, 7);
  for (LinearPlan& linear : plan.linears) std::fill(linear.bits.begin(), linear.bits.end(), uint8_t{8});
  plan.quantizer = "rtn";
  write_packed(checkpoint, all_active, plan, {}, Json::object(), dir_.path(), silent_log());
  const Sequence ids = draw(24, 9);
  const at::Tensor original = logits_of(DenseWeights(checkpoint, all_active), ids);
  const at::Tensor packed = logits_of(*open_model(dir_.path()), ids);
  // Half a step of 8 bits is 0.2 % of a group's range; an order that one side of an axis does not have is off by 100 %.
  // Seen: 0.6 to 4.1 %; with a choice of 2 of 8 one token was at 36 %.
  const at::Tensor error = (packed - original).norm(2, -1) / original.norm(2, -1);
  EXPECT_LT(error.max().item<float>(), 0.05F) << error;
}

TEST_P(MoePack, CompensationReportsTheLossOfWhatIsPackedWhateverTheThreads) {
  plan_.quantizer = "gptq";
  set_num_threads(1);
  const CompensatedModel one = compensated({});
  set_num_threads(2);
  const CompensatedModel two = compensated({});
  for (size_t i = 0; i < one.matrices.size(); ++i) {
    const PackedView a = one.matrices[i].view(), b = two.matrices[i].view();
    EXPECT_TRUE(std::ranges::equal(a.codes, b.codes) && std::ranges::equal(a.scales, b.scales)) << i;
  }
  EXPECT_EQ(one.heldout_kl, two.heldout_kl);
  write_packed(checkpoint_, config_, plan_, {.ready = one.matrices}, Json::object(), dir_.path(), silent_log());
  const Sequence& ids = calib_.heldout[0];
  const double packed = kl_divergence(logits_of(DenseWeights(checkpoint_, config_), ids),
                                      logits_of(*open_model(dir_.path()), ids), nullptr) /
                        static_cast<double>(ids.size());
  EXPECT_NEAR(one.heldout_kl, packed, 1e-4 * packed);
}

TEST_P(MoePack, ExpertsWithoutTokensAreRoundedAsASearchSawThem) {
  plan_.quantizer = "gptq";
  calib_.gradient = {draw(2, 1)};
  const ColumnMoments moments = test::random_moments(test::layers_of(plan_, config_), 3);
  const QuantizedWeights weights(std::make_shared<DenseWeights>(checkpoint_, config_, plan_.order),
                                 test::layers_of(plan_, config_), group_quantizer("clip"), moments);
  const std::vector<Sequence> all = {calib_.gradient[0], calib_.heldout[0]};
  const CompensatedModel model =
      compensate(weights, plan_, calib_, root_token_weights(weights, all, {}), {}, silent_log());
  int64_t weighed = 0, with_experts = 0;
  for (size_t i = 0; i < plan_.linears.size(); ++i) {
    const at::Tensor w = weights.stored_weight(i).contiguous();
    const PackedMatrix alone = pack_linear(plan_.linears[i], {w.data_ptr<float>(), static_cast<size_t>(w.numel())},
                                           group_quantizer("clip"), weights.importance(i));
    weighed += std::ranges::equal(model.matrices[i].view().codes, alone.view().codes) ? 1 : 0;
  }
  for (int64_t l = 0; l < config_.n_layers; ++l) with_experts += config_.has_experts(l) ? 1 : 0;
  const int64_t blind = config_.experts.n_experts - 2 * config_.experts.n_active;
  ASSERT_GT(blind, 0);
  EXPECT_GE(weighed, with_experts * blind * 3);  // gate, up and down of each
}

/// Many tokens, because single ones change their experts: with one text of 24 tokens the outcome hung on the machine.
TEST_P(MoePack, CompensationLowersTheLoss) {
  for (LinearPlan& linear : plan_.linears) std::fill(linear.bits.begin(), linear.bits.end(), uint8_t{4});
  calib_.heldout.clear();
  for (uint64_t s = 0; s < 16; ++s) calib_.heldout.push_back(draw(24, 100 + s));
  for (uint64_t s = 10; s < 70; ++s) calib_.gradient.push_back(draw(24, s));
  plan_.quantizer = "clip";
  write_packed(checkpoint_, config_, plan_, {}, Json::object(), dir_.path(), silent_log());
  const auto rounded = open_model(dir_.path());
  const DenseWeights original(checkpoint_, config_);
  double alone = 0;
  int64_t tokens = 0;
  for (const Sequence& ids : calib_.heldout) {
    alone += kl_divergence(logits_of(original, ids), logits_of(*rounded, ids), nullptr);
    tokens += static_cast<int64_t>(ids.size());
  }
  alone /= static_cast<double>(tokens);
  plan_.quantizer = "gptq";
  PassOptions every;
  every.every_expert = true;
  // 0.74 and 0.80 of plain rounding (Mixtral), 0.58 and 0.56 (Qwen3-MoE).
  EXPECT_LT(compensated({}).heldout_kl, 0.9 * alone);
  EXPECT_LT(compensated(every).heldout_kl, 0.9 * alone);
}

}  // namespace
}  // namespace scalebits
