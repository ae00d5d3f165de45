// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/pack.h"

#include <gmock/gmock.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/forward.h"
#include "scalebits/io/packed_config.h"
#include "scalebits/io/plan_file.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/data.h"
#include "tests/pack/random_plan.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

fs::path tiny() { return test::source_dir() / "tests/model/golden/tiny-gqa"; }

/// The 2-layer model with GQA and biases everywhere; 16 x 32 blocks give ragged edges (96 and 24-channel heads).
class Pack : public testing::Test {
 protected:
  void SetUp() override { init_torch(); }
  void TearDown() override { set_num_threads(0); }

  PackedSize pack(const fs::path& out, const ColumnMoments& moments = {}) const {
    fs::create_directories(out);
    return write_packed(checkpoint_, config_, plan_, {.moments = moments}, Json::object(), out, silent_log());
  }
  /// The dequantized weights of what is packed are those that a search sees.
  void expect_what_a_search_sees(const std::string& name, const ColumnMoments& moments) const {
    pack(dir_ / name, moments);
    fs::create_directories(dir_ / (name + "-dense"));
    write_dense(dir_ / name, DType::kF32, dir_ / (name + "-dense"), silent_log());
    const auto folded = std::make_shared<DenseWeights>(checkpoint_, config_, plan_.order);
    QuantizedWeights seen(folded, test::layers_of(plan_, config_), group_quantizer(plan_.quantizer), moments);
    const auto exported = open_dense_model(dir_ / (name + "-dense"));
    for (size_t i = 0; i < plan_.linears.size(); ++i) seen.set_bits(i, plan_.linears[i].bits);
    for (const auto& item : seen.layers().items) {
      const auto linear = seen.linear(item.layer, item.slot);
      const at::Tensor expected = dynamic_cast<const DenseLinear&>(*linear).weight();
      EXPECT_TRUE(at::equal(exported->weight(item.layer, item.slot), expected)) << name << " " << item.name;
    }
  }
  static std::string bytes(const fs::path& file) { return read_text_file(file); }

  std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny());
  ModelConfig config_ = read_hf_config(tiny());
  Plan plan_ = test::random_plan(*checkpoint_, config_, BlockSpec{16, 32, 32}, 7);
  test::TempDir dir_;
};

at::Tensor logits_of(const ModelWeights& weights, const Sequence& ids) {
  at::Tensor logits;
  for_each_hidden(weights, std::vector<Sequence>{ids},
                  [&](int64_t, const at::Tensor& h) { logits = weights.logits(h); });
  return logits;
}

TEST_F(Pack, PackedModelGivesTheLogitsOfItsDequantizedExport) {
  pack(dir_ / "packed");
  fs::create_directories(dir_ / "dense");
  write_dense(dir_ / "packed", DType::kF32, dir_ / "dense", silent_log());
  const Sequence ids = {3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38};
  const at::Tensor packed = logits_of(*open_model(dir_ / "packed"), ids);
  const at::Tensor dense = logits_of(*open_model(dir_ / "dense"), ids);
  // Twelve tokens go through the decode-and-multiply path: the same f32 weights, so the same products.
  EXPECT_LE((packed - dense).abs().max().item<float>(), 1e-5F * dense.abs().max().item<float>());
  // Four tokens go through gemv, whose order of summation differs: a few roundings of 2^-24 per layer.
  const Sequence few(ids.begin(), ids.begin() + 4);
  const at::Tensor gemv = logits_of(*open_model(dir_ / "packed"), few);
  EXPECT_LE((gemv - dense.narrow(0, 0, 4)).abs().max().item<float>(), 1e-4F * dense.abs().max().item<float>());
}

TEST_F(Pack, ExportHoldsExactlyWhatTheSearchSaw) { expect_what_a_search_sees("packed", {}); }

TEST_F(Pack, ErrorsCountByTheMomentsOfTheirColumnsInFoldedAndInFusedOrders) {
  const ColumnMoments moments = test::random_moments(test::layers_of(plan_, config_), 3);
  expect_what_a_search_sees("plain", {});
  expect_what_a_search_sees("weighed", moments);
  EXPECT_FALSE(bytes(dir_ / "plain/model.safetensors") == bytes(dir_ / "weighed/model.safetensors"));
  test::draw_fused_orders(plan_, config_, /*tie=*/true, 5);
  expect_what_a_search_sees("fused", moments);
}

TEST_F(Pack, AtEightBitsTheModelIsNearlyTheOriginalWhateverTheOrder) {
  for (LinearPlan& linear : plan_.linears) std::fill(linear.bits.begin(), linear.bits.end(), uint8_t{8});
  pack(dir_ / "packed");
  const Sequence ids = {3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38};
  const at::Tensor original = logits_of(DenseWeights(checkpoint_, config_), ids);
  const at::Tensor packed = logits_of(*open_model(dir_ / "packed"), ids);
  // Half a step of 8 bits is 0.2 % of a group's range; an order applied to one side only is off by 100 % and more.
  EXPECT_LE((packed - original).norm().item<float>(), 0.02F * original.norm().item<float>());
}

TEST_F(Pack, SizesAreThoseOfTheFiles) {
  const PackedSize size = pack(dir_ / "packed");
  EXPECT_EQ(size.file_bytes, static_cast<int64_t>(fs::file_size(dir_ / "packed/model.safetensors")));
  int64_t packed_bytes = 0;
  const Checkpoint written(dir_ / "packed");
  for (const std::string& name : written.names()) {
    if (!name.ends_with(".weight") && !name.ends_with(".bias")) {
      packed_bytes += static_cast<int64_t>(written.get(name).bytes.size());
    }
  }
  EXPECT_EQ(size.quantized_bytes, packed_bytes);
  EXPECT_EQ(size.quantized_bytes, plan_.bytes());
  EXPECT_EQ(size.embed_bytes, 128 * 64 * 4);  // left dense, f32
  EXPECT_EQ(size.head_bytes, 128 * 64 * 4);
  EXPECT_EQ(size.quantized_bytes + size.embed_bytes + size.head_bytes + size.dense_bytes, written.tensor_bytes());
  EXPECT_DOUBLE_EQ(read_packed_config(dir_ / "packed").bits, plan_.bpw());
}

TEST_F(Pack, SameBytesForOneAndForThreeThreads) {
  set_num_threads(1);
  pack(dir_ / "one");
  set_num_threads(3);
  pack(dir_ / "three");
  for (const char* file : {"model.safetensors", "plan.json", "config.json"}) {
    EXPECT_EQ(bytes(dir_ / "one" / file), bytes(dir_ / "three" / file)) << file;
  }
}

TEST_F(Pack, ThePlanInsideGivesTheSameFileAgain) {
  pack(dir_ / "first");
  const Plan again = read_plan(dir_ / "first/plan.json");
  EXPECT_EQ(again.linears, plan_.linears);
  EXPECT_EQ(again.order, plan_.order);
  plan_ = again;
  pack(dir_ / "second");
  EXPECT_EQ(bytes(dir_ / "first/model.safetensors"), bytes(dir_ / "second/model.safetensors"));
}

TEST_F(Pack, LayersOutsideThePlanStayDenseAndFolded) {
  plan_.linears.erase(plan_.linears.begin() + 2);  // v_proj of layer 0, with its bias
  for (LinearPlan& linear : plan_.linears) std::fill(linear.bits.begin(), linear.bits.end(), uint8_t{8});
  pack(dir_ / "packed");
  EXPECT_TRUE(Checkpoint(dir_ / "packed").contains("model.layers.0.self_attn.v_proj.weight"));
  const Sequence ids = {3, 1, 4, 1, 5, 92, 65, 35, 89, 79};
  const at::Tensor original = logits_of(DenseWeights(checkpoint_, config_), ids);
  const at::Tensor packed = logits_of(*open_model(dir_ / "packed"), ids);
  EXPECT_LE((packed - original).norm().item<float>(), 0.02F * original.norm().item<float>());
}

template <class E>
std::string refusal(const Plan& plan, const ModelConfig& config, const std::string& fingerprint) {
  try {
    check_plan_fits(plan, config, fingerprint);
  } catch (const E& error) {
    return error.what();
  }
  return "no such error";
}

TEST_F(Pack, RefusesAPlanOfAnotherModel) {
  EXPECT_THAT(refusal<InvalidArgument>(plan_, config_, "0123"), HasSubstr("made for another model"));
  Plan renamed = plan_;
  renamed.linears[0].name = "model.layers.9.mlp.up_proj";
  EXPECT_THAT(refusal<FormatError>(renamed, config_, plan_.model_fingerprint), HasSubstr("has none of this name"));
  Plan resized = plan_;
  resized.linears[0] = {plan_.linears[0].name, BlockGrid(16, 32, plan_.spec), {2}, {}, {}};
  EXPECT_THAT(refusal<FormatError>(resized, config_, plan_.model_fingerprint), HasSubstr("16 x 32"));
  Plan reordered = plan_;
  reordered.order.residual.pop_back();
  EXPECT_NE(refusal<FormatError>(reordered, config_, plan_.model_fingerprint), "no such error");
}

TEST_F(Pack, FingerprintSeesEveryByteOfEveryTensor) {
  const fs::path copy = dir_ / "copy";
  fs::create_directories(copy);
  fs::copy_file(tiny() / "config.json", copy / "config.json");
  std::string file = bytes(tiny() / "model.safetensors");
  file.back() = static_cast<char>(file.back() ^ 1);
  write_text_file(copy / "model.safetensors", file);
  EXPECT_NE(model_fingerprint(Checkpoint(copy)), plan_.model_fingerprint);
  EXPECT_EQ(model_fingerprint(Checkpoint(tiny())), plan_.model_fingerprint);
}

}  // namespace
}  // namespace scalebits
