// SPDX-License-Identifier: Apache-2.0
// Packed models whose matrices are stored in an order of their own.
#include <gmock/gmock.h>

#include "scalebits/base/errors.h"
#include "scalebits/calibrate/forward.h"
#include "scalebits/io/packed_config.h"
#include "scalebits/pack/pack.h"
#include "scalebits/report/model_report.h"
#include "scalebits/report/verify.h"
#include "tests/data.h"
#include "tests/pack/random_plan.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

fs::path tiny() { return test::source_dir() / "tests/model/golden/tiny-gqa"; }

at::Tensor logits_of(const ModelWeights& weights, const Sequence& ids) {
  at::Tensor logits;
  for_each_hidden(weights, std::vector<Sequence>{ids},
                  [&](int64_t, const at::Tensor& h) { logits = weights.logits(h); });
  return logits;
}

/// tiny-gqa at random widths, rtn, in random orders; with the parameter, tied.
class FusedPack : public testing::TestWithParam<bool> {
 protected:
  FusedPack() {
    init_torch();
    test::draw_fused_orders(plan_, config_, GetParam(), 3);
    plan_.quantizer = "rtn";
  }
  PackedSize pack(const fs::path& out) const {
    fs::create_directories(out);
    check_plan_fits(plan_, config_, plan_.model_fingerprint);
    return write_packed(checkpoint_, config_, plan_, {}, Json::object(), out, silent_log());
  }
  [[nodiscard]] std::vector<std::string> problems() const { return verify_model(packed_, silent_log()).problems; }

  std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny());
  ModelConfig config_ = read_hf_config(tiny());
  Plan plan_ = test::random_plan(*checkpoint_, config_, BlockSpec{16, 32, 32}, 7);
  test::TempDir dir_;
  fs::path packed_ = dir_ / "packed";
};
INSTANTIATE_TEST_SUITE_P(Tie, FusedPack, testing::Bool(),
                         [](const auto& test) { return test.param ? "Tied" : "Free"; });

/// min-max with an f16 scale rounded up and a whole zero (docs/format.md), one group of a matrix permuted by hand.
void round_group(std::vector<float>& w, int bits) {
  const GroupQuantizer& rtn = group_quantizer("rtn");
  const GroupParams params = rtn.fit(w, {}, bits);
  for (float& x : w) x = decode(round_code(x, params, bits), params, bits);
}

TEST_P(FusedPack, IsTheQuantizationOfMatricesPermutedByHand) {
  pack(packed_);
  fs::create_directories(dir_ / "dense");
  write_dense(packed_, DType::kF32, dir_ / "dense", silent_log());
  const DenseWeights original(checkpoint_, config_);
  const auto exported = open_dense_model(dir_ / "dense");
  for (const auto& item : find_quantized_layers(config_, plan_.spec).items) {
    const LinearPlan& linear = *std::find_if(plan_.linears.begin(), plan_.linears.end(),
                                             [&](const LinearPlan& l) { return l.name == item.name; });
    const at::Tensor w = original.weight(item.layer, item.slot), got = exported->weight(item.layer, item.slot);
    for (int64_t r = 0; r < w.size(0); ++r) {
      const int64_t row = linear.row_perm[static_cast<size_t>(r)];
      for (int64_t c = 0; c < w.size(1); c += 32) {  // groups and blocks are as wide
        const int64_t n = std::min<int64_t>(32, w.size(1) - c);
        std::vector<float> group;
        for (int64_t i = c; i < c + n; ++i) {
          group.push_back(w[row][linear.col_perm[static_cast<size_t>(i)]].item<float>());
        }
        round_group(group, linear.bits[static_cast<size_t>(r / 16 * linear.grid.col_blocks() + c / 32)]);
        for (int64_t i = c; i < c + n; ++i) {
          ASSERT_EQ(got[row][linear.col_perm[static_cast<size_t>(i)]].item<float>(), group[static_cast<size_t>(i - c)])
              << item.name << " stored at " << r << ", " << i;
        }
      }
    }
  }
}

TEST_P(FusedPack, MultipliesWithExactlyWhatIsExported) {
  pack(packed_);
  fs::create_directories(dir_ / "dense");
  write_dense(packed_, DType::kF32, dir_ / "dense", silent_log());
  const Sequence ids = {3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38};
  const at::Tensor packed = logits_of(*open_model(packed_), ids), dense = logits_of(*open_model(dir_ / "dense"), ids);
  // Twelve tokens are multiplied with the decoded matrix: the same floats in the same place.
  EXPECT_TRUE(at::equal(packed, dense));
  // Four tokens go through gemv, whose sums run in stored order: a few roundings of 2^-24 per layer.
  const Sequence few(ids.begin(), ids.begin() + 4);
  const at::Tensor gemv = logits_of(*open_model(packed_), few);
  EXPECT_LE((gemv - dense.narrow(0, 0, 4)).abs().max().item<float>(), 1e-4F * dense.abs().max().item<float>());
}

TEST_P(FusedPack, AtEightBitsTheModelIsNearlyTheOriginal) {
  for (LinearPlan& linear : plan_.linears) std::fill(linear.bits.begin(), linear.bits.end(), uint8_t{8});
  pack(packed_);
  const Sequence ids = {3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38};
  const at::Tensor original = logits_of(DenseWeights(checkpoint_, config_), ids);
  // Half a step of 8 bits is 0.2 % of a group's range; an order applied to one side only is off by 100 % and more.
  EXPECT_LE((logits_of(*open_model(packed_), ids) - original).norm().item<float>(),
            0.02F * original.norm().item<float>());
}

TEST_P(FusedPack, CountsThePermutationsThatItStores) {
  const PackedSize size = pack(packed_);
  const Checkpoint written(packed_);
  int64_t packed_bytes = 0, permutations = 0;
  for (const std::string& name : written.names()) {
    const auto bytes = static_cast<int64_t>(written.get(name).bytes.size());
    if (!name.ends_with(".weight") && !name.ends_with(".bias")) packed_bytes += bytes;
    if (name.ends_with("_perm")) permutations += bytes;
  }
  // By hand, per layer: rows of q k v o gate up down, columns of q (k v) o gate (up) down; I16.
  const int64_t rows = 96 + 48 + 48 + 64 + 96 + 96 + 64,
                cols = GetParam() ? 64 + 96 + 64 + 96 : 3 * 64 + 96 + 2 * 64 + 96;
  EXPECT_EQ(permutations, 2 * 2 * (rows + cols));
  EXPECT_EQ(size.quantized_bytes, packed_bytes);
  EXPECT_EQ(plan_.bytes(), packed_bytes);
  EXPECT_EQ(size.file_bytes, static_cast<int64_t>(fs::file_size(packed_ / "model.safetensors")));
  EXPECT_EQ(packed_size(*checkpoint_, config_, plan_).file_bytes, size.file_bytes);
  EXPECT_EQ(report_model(*open_model(packed_)).total().bytes, packed_bytes);
  EXPECT_EQ(written.contains("model.layers.1.self_attn.v_proj.col_perm"), !GetParam());
  EXPECT_TRUE(written.contains("model.layers.1.self_attn.q_proj.col_perm"));
  const PackedConfig config = read_packed_config(packed_);
  EXPECT_EQ(config.reorder_mode, "fused");
  EXPECT_EQ(config.tie, GetParam() ? "fused" : "none");
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_P(FusedPack, TheFirstTiedLayerThatIsPackedHasTheColumns) {
  if (!GetParam()) return;
  plan_.linears.erase(plan_.linears.begin());  // q_proj of layer 0
  plan_.linears[0].shares_cols = false;
  for (LinearPlan& linear : plan_.linears) std::fill(linear.bits.begin(), linear.bits.end(), uint8_t{8});
  pack(packed_);
  EXPECT_TRUE(Checkpoint(packed_).contains("model.layers.0.self_attn.k_proj.col_perm"));
  EXPECT_THAT(problems(), IsEmpty());
  const Sequence ids = {3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38};
  const at::Tensor original = logits_of(DenseWeights(checkpoint_, config_), ids);
  EXPECT_LE((logits_of(*open_model(packed_), ids) - original).norm().item<float>(),
            0.02F * original.norm().item<float>());
}

TEST_P(FusedPack, RefusesAPlanThatSharesOtherwiseThanItsTieSays) {
  plan_.tie = GetParam() ? "none" : "fused";
  EXPECT_THROW(check_plan_fits(plan_, config_, plan_.model_fingerprint), FormatError);
}

/// The packed checkpoint again, with some tensors changed and correct checksums.
void rewrite(const fs::path& dir,
             const std::function<void(std::map<std::string, std::pair<DType, std::string>>&)>& edit) {
  std::map<std::string, std::pair<DType, std::string>> tensors;
  std::map<std::string, std::vector<int64_t>> shapes;
  {
    const Checkpoint checkpoint(dir);
    for (const std::string& name : checkpoint.names()) {
      const TensorView& t = checkpoint.get(name);
      tensors[name] = {t.dtype, std::string(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size())};
      shapes[name] = t.shape;
    }
  }
  edit(tensors);
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) {
    if (name.ends_with("_perm")) {
      shapes[name] = {static_cast<int64_t>(tensor.second.size()) / dtype_bytes(tensor.first)};
    }
    specs.push_back({name, tensor.first, shapes[name]});
  }
  SafetensorsWriter writer(dir / "model.safetensors", specs, {{"format", "pt"}}, /*checksums=*/true);
  for (const auto& [name, tensor] : tensors) writer.write(name, std::as_bytes(std::span(tensor.second)));
  writer.finish();
}

TEST_P(FusedPack, RefusesPermutationsThatAreNoneByName) {
  const std::string name = "model.layers.1.mlp.down_proj.row_perm";  // 64 entries
  const auto refusal = [&](DType dtype, const std::function<void(std::string&)>& edit) -> std::string {
    pack(packed_);
    rewrite(packed_, [&](auto& tensors) {
      tensors[name].first = dtype;
      edit(tensors[name].second);
    });
    EXPECT_EQ(problems().size(), 1U);
    try {
      logits_of(*open_model(packed_), {1, 2, 3});
    } catch (const FormatError& error) {
      EXPECT_EQ(problems(), std::vector<std::string>{error.what()});
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal(DType::kI16, [](std::string& b) { b[1] = 1; }), HasSubstr("[" + name + "] permutation[0]: got"));
  EXPECT_THAT(refusal(DType::kI16, [](std::string& b) { b[1] = '\x80'; }), HasSubstr("expected an index in 0..63"));
  EXPECT_THAT(refusal(DType::kI16, [](std::string& b) { b.replace(2, 2, b.substr(0, 2)); }),
              HasSubstr("a second time"));
  EXPECT_THAT(refusal(DType::kI16, [](std::string& b) { b.resize(126); }), HasSubstr("got 126 bytes"));
  EXPECT_THAT(refusal(DType::kI32, [](std::string& b) { b += b; }), HasSubstr("dtype: got I32, expected I16"));
}

TEST_P(FusedPack, VerifyMissesAPermutationThatIsGoneAndNamesOneTooMany) {
  pack(packed_);
  // The metadata still has the checksum of the tensor that was taken away.
  std::string file = read_text_file(packed_ / "model.safetensors");
  const std::string gone = "model.layers.0.mlp.up_proj.row_perm", other = "model.layers.0.mlp.up_proj.row_xerm";
  const size_t at = file.find("\"" + gone + "\"");
  ASSERT_NE(at, std::string::npos);
  file.replace(at + 1, other.size(), other);
  write_text_file(packed_ / "model.safetensors", file);
  EXPECT_THAT(problems(), testing::Contains(HasSubstr("[" + gone + "] permutation: missing")));
  pack(packed_);
  rewrite(packed_, [](auto& tensors) {
    tensors["model.layers.0.self_attn.k_proj.col_perm"] = tensors.at("model.layers.0.self_attn.q_proj.col_perm");
  });
  EXPECT_EQ(problems().size(), GetParam() ? 1U : 0U);
}

}  // namespace
}  // namespace scalebits
