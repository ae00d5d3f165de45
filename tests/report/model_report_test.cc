// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/model_report.h"

#include "tests/io/error_text.h"
#include "tests/model/golden.h"
#include "tests/report/packed_model.h"

namespace scalebits {
namespace {

using testing::ElementsAre;

/// tiny-gqa: d_model 64, d_ff 96, q 96 x 64, k and v 48 x 64. With blocks of 32 x 32 in groups of 16, up_proj (96 x 64)
/// has 3 x 2 whole blocks and k_proj (48 x 64) a second row of half blocks.
constexpr BlockSpec kSpec = {.rows = 32, .cols = 32, .group_size = 16};

class PackedReport : public testing::Test {
 protected:
  PackedReport() {
    test::pack_model(test::tiny_gqa(), dir_ / "packed", kSpec, [](int64_t layer, Slot p, int64_t block) {
      if (layer == 1 && p == Proj::kDown) return 0;
      if (p == Proj::kK) return block < 2 ? 8 : 1;
      return layer == 0 ? 2 : 3;
    });
    weights_ = open_model(dir_ / "packed");
    report_ = report_model(*weights_);
  }
  const MatrixReport& matrix(int64_t layer, Proj p) {
    return report_.matrices[static_cast<size_t>(layer * 7 + static_cast<int>(p))];
  }

  test::TempDir dir_;
  std::unique_ptr<ModelWeights> weights_;
  ModelReport report_;
};

TEST_F(PackedReport, CountsWeightsByWidthWithRaggedBlocks) {
  EXPECT_TRUE(report_.packed);
  ASSERT_EQ(report_.matrices.size(), 14U);
  const MatrixReport& k = matrix(0, Proj::kK);
  EXPECT_EQ(k.name, "model.layers.0.self_attn.k_proj");
  EXPECT_THAT(k.weights, ElementsAre(0, 16 * 64, 0, 0, 0, 0, 0, 0, 32 * 64));  // the lower blocks have 16 rows
  EXPECT_EQ(matrix(0, Proj::kUp).weights[2], 96 * 64);
  EXPECT_EQ(matrix(1, Proj::kUp).weights[3], 96 * 64);
  EXPECT_EQ(matrix(1, Proj::kDown).weights[0], 64 * 96);
}

TEST_F(PackedReport, CountsEveryByte) {
  // 96 x 64 weights of 2 bits; 6 blocks of 32 rows x 2 groups, each with a scale and a zero of 3 bits.
  const MatrixReport& up = matrix(0, Proj::kUp);
  EXPECT_EQ(up.code_bytes, 96 * 64 * 2 / 8);
  EXPECT_EQ(up.scale_bytes, 6 * 32 * 2);
  EXPECT_EQ(up.zero_bytes, 6 * 32 * 2 * 3 / 8);
  EXPECT_EQ(up.map_bytes, 6);
  EXPECT_EQ(up.bytes(), 1536 + 384 + 144 + 6);
  EXPECT_EQ(matrix(1, Proj::kDown).bytes(), 64 * 96 * 4);  // dense, f32
}

TEST_F(PackedReport, AddsUpOverLayersAndKinds) {
  int64_t bytes = 0, weights = 0;
  for (const Proj p : kProjections) {
    bytes += report_.total(p).bytes;
    weights += report_.total(p).n_weights;
  }
  EXPECT_EQ(report_.total().bytes, bytes);
  EXPECT_EQ(report_.total(0).bytes + report_.total(1).bytes, bytes);
  EXPECT_EQ(report_.total().n_weights, weights);
  EXPECT_DOUBLE_EQ(report_.total(Proj::kUp).code_bits(), 2.5);
  EXPECT_DOUBLE_EQ(report_.total(Proj::kK).code_bits(), (8.0 * 32 + 16) / 48);
  // The dense model has as many parameters, whatever was packed.
  EXPECT_EQ(report_.parameters, report_model(*open_model(test::tiny_gqa())).parameters);
}

TEST_F(PackedReport, JsonHasTheHistogramsOfLayersAndMatrices) {
  const Json json = to_json(report_, weights_->config());
  EXPECT_EQ(json["bits_histogram"]["8"], 2 * 32 * 64);
  EXPECT_EQ(json["bits_histogram"]["dense"], 64 * 96);
  ASSERT_EQ(json["layers"].size(), 2U);
  EXPECT_EQ(json["layers"][1]["matrices"]["up_proj"]["bits_histogram"]["3"], 96 * 64);
  EXPECT_EQ(json["layers"][0]["matrices"]["k_proj"]["shape"], Json({48, 64}));
  EXPECT_DOUBLE_EQ(json["layers"][0]["matrices"]["up_proj"]["bpw"].get<double>(), 8.0 * 2070 / (96 * 64));
  EXPECT_EQ(json["matrix_kinds"]["down_proj"]["weights"], 2 * 64 * 96);
}

TEST_F(PackedReport, VocabularyMatricesAreInNoTotal) {
  ASSERT_EQ(report_.vocab.size(), 2U);
  EXPECT_EQ(report_.vocab[0].dense_bytes, 128 * 64 * 4);
  test::pack_model(test::tiny_gqa(), dir_ / "vocab", kSpec, [](int64_t, Slot, int64_t) { return uint8_t{2}; },
                   {kDenseBits, 6});
  test::pack_model(test::tiny_gqa(), dir_ / "plain", kSpec, [](int64_t, Slot, int64_t) { return uint8_t{2}; });
  const auto with = open_model(dir_ / "vocab"), without = open_model(dir_ / "plain");
  const ModelReport report = report_model(*with);
  const MatrixReport& head = report.vocab[1];
  EXPECT_EQ(head.name, "lm_head");
  EXPECT_EQ(head.weights[6], 128 * 64);
  EXPECT_EQ(head.code_bytes, 128 * 64 * 6 / 8);
  EXPECT_EQ(head.scale_bytes, 128 * 4);  // groups of 16
  EXPECT_EQ(head.zero_bytes, 128 * 4 * 7 / 8);
  EXPECT_EQ(head.map_bytes, 4 * 2);
  EXPECT_EQ(report.total().bytes, report_model(*without).total().bytes);
  EXPECT_EQ(report.parameters, report_.parameters);
  const Json json = to_json(report, with->config());
  EXPECT_EQ(json["vocab"]["lm_head"]["bytes"], head.bytes());
  EXPECT_EQ(json["vocab"]["model.embed_tokens"]["bits_histogram"]["dense"], 128 * 64);
}

TEST(DenseReport, CountsParametersAndBytesByDtype) {
  const auto weights = open_model(test::demo_model());
  const ModelReport report = report_model(*weights);
  EXPECT_FALSE(report.packed);
  EXPECT_EQ(report.parameters, 5180672);  // its README
  EXPECT_EQ(report.file_bytes, 10367384);
  EXPECT_EQ(report.dtype_bytes.at("BF16"), 2 * 5180672);
  EXPECT_EQ(report.total().weights[0], report.total().n_weights);
  EXPECT_DOUBLE_EQ(report.total().bpw(), 16);
  EXPECT_EQ(report.total().code_bits(), 0);
}

TEST(BlockMap, HasOneDigitPerBlock) {
  const BlockGrid grid(48, 96, {.rows = 16, .cols = 32, .group_size = 32});
  const std::vector<uint8_t> bits = {1, 2, 3, 4, 5, 6, 7, 8, 1};
  EXPECT_THAT(block_map(grid, bits, 10, 10), ElementsAre("123", "456", "781"));
}

TEST(BlockMap, ShrinksToRoundedMeans) {
  const BlockGrid grid(48, 128, {.rows = 16, .cols = 32, .group_size = 32});
  const std::vector<uint8_t> bits = {1, 2, 8, 8, 2, 2, 8, 7, 3, 3, 1, 1};
  // Row bands {0} and {1, 2}, column bands {0, 1} and {2, 3}: means 1.5, 8, 2.5 and 4.25.
  EXPECT_THAT(block_map(grid, bits, 2, 2), ElementsAre("28", "34"));
}

}  // namespace
}  // namespace scalebits
