// SPDX-License-Identifier: Apache-2.0
/// Packed vocabulary matrices: the embedding and the head, tied and not.
#include "scalebits/model/vocab.h"

#include <gmock/gmock.h>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/io/plan_file.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/model/whole_model.h"
#include "tests/pack/random_plan.h"
#include "tests/pack/rewrite.h"

namespace scalebits::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr BlockSpec kSpec{.rows = 32, .cols = 40, .group_size = 20};
/// Not a multiple of the 32 rows of a block, nor of the 16 rows of a strip; 64 columns are a block of 40 and one of 24.
constexpr int64_t kVocab = 117;

/// tiny-gqa with 117 tokens, its head its own or the embedding, packed with a random plan and random orders.
class PackedVocab : public ::testing::TestWithParam<bool> {
 protected:
  PackedVocab() {
    init_torch();
    copy_model(tiny_gqa(), dense_dir(), [](auto& tensors) {
      for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
        tensors.at(name) = tensors.at(name).narrow(0, 0, kVocab).contiguous();
      }
      if (GetParam()) tensors.erase("lm_head.weight");
    });
    Json config = read_json(dense_dir() / "config.json");
    config["vocab_size"] = kVocab;
    config["tie_word_embeddings"] = GetParam();
    std::ofstream(dense_dir() / "config.json") << config.dump();
    checkpoint_ = std::make_shared<Checkpoint>(dense_dir());
    config_ = read_hf_config(dense_dir());
    plan_ = random_plan(*checkpoint_, config_, kSpec, 7);
    plan_.vocab = GetParam() ? VocabBits{5, 5} : VocabBits{3, 6};
  }
  void TearDown() override { set_num_threads(0); }

  [[nodiscard]] fs::path dense_dir() const { return dir_ / "dense"; }
  [[nodiscard]] fs::path packed_dir() const { return dir_ / "packed"; }
  PackedSize pack(const std::string& out = "packed") const {
    fs::create_directories(dir_ / out);
    return write_packed(checkpoint_, config_, plan_, {}, Json::object(), dir_ / out, silent_log());
  }
  [[nodiscard]] QuantizedWeights seen() const {
    QuantizedLayers layers = find_quantized_layers(config_, kSpec);
    layers.vocab = plan_.vocab;
    return {std::make_shared<DenseWeights>(checkpoint_, config_, plan_.order), layers,
            group_quantizer(plan_.quantizer)};
  }
  /// Rounded one group and one code at a time, columns in the folded order.
  [[nodiscard]] at::Tensor expected(const char* name, int bits) const {
    const at::Tensor stored = read_tensors(dense_dir()).at(name);
    const at::Tensor folded = permute_dim(stored, 1, plan_.order.residual).contiguous();
    const BlockGrid grid(kVocab, 64, kSpec);
    return quantized_by_groups(folded, grid, std::vector<uint8_t>(static_cast<size_t>(grid.n_blocks()), uint8_t(bits)),
                               group_quantizer(plan_.quantizer));
  }
  [[nodiscard]] at::Tensor expected_embed() const { return expected("model.embed_tokens.weight", plan_.vocab.embed); }
  [[nodiscard]] at::Tensor expected_head() const {
    return GetParam() ? expected_embed() : expected("lm_head.weight", plan_.vocab.head);
  }
  static Ids all_ids() {
    Ids ids(kVocab);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>((i * 53) % kVocab);  // each once, mixed
    return ids;
  }

  TempDir dir_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  ModelConfig config_;
  Plan plan_;
};

INSTANTIATE_TEST_SUITE_P(Head, PackedVocab, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? "Tied" : "Untied"; });

TEST_P(PackedVocab, EmbeddingRowsAreTheDecodedRowsBitForBit) {
  pack();
  const at::Tensor table = expected_embed(), rows = open_model(packed_dir())->embed(all_ids())[0];
  for (int64_t i = 0; i < kVocab; ++i) EXPECT_TRUE(at::equal(rows[i], table[(i * 53) % kVocab])) << i;
}

TEST_P(PackedVocab, LogitsAreTheProductWithTheDecodedMatrix) {
  pack();
  const auto model = open_model(packed_dir());
  const at::Tensor head = expected_head().to(at::kDouble);
  for (const int64_t rows : {1, 8, 9, 40}) {  // up to 8 on the packed bytes, beyond with the decoded matrix
    const at::Tensor x = random_normal({rows, 64}, 3), xd = x.to(at::kDouble);
    const at::Tensor got = model->logits(x).to(at::kDouble);
    // 64 products summed in f32, each product rounded once (kernels.h; oneDNN may pad the sum with zeros).
    const at::Tensor bound = at::matmul(xd.abs(), head.abs().t()) * (65 * 0x1p-24);
    EXPECT_TRUE(((got - at::matmul(xd, head.t())).abs() <= bound).all().item<bool>()) << rows;
  }
  EXPECT_TRUE(at::equal(model->head(), expected_head()));
}

TEST_P(PackedVocab, SearchAndCompensationSeeWhatIsWritten) {
  pack();
  const auto written = open_model(packed_dir());
  const QuantizedWeights weights = seen();
  EXPECT_TRUE(at::equal(weights.embed(all_ids()), written->embed(all_ids())));
  // The search's head is in the stored order, because final_hidden() undoes the folded one.
  EXPECT_TRUE(at::equal(permute_dim(weights.head(), 1, plan_.order.residual), written->head()));
  const at::Tensor x = random_normal({9, 64}, 3);
  const at::Tensor dense = DenseWeights(checkpoint_, config_).logits(x);
  EXPECT_TRUE(at::equal(weights.reference_logits(x), dense));
  EXPECT_FALSE(at::equal(weights.logits(x), dense));
}

TEST_P(PackedVocab, HeldOutLossIsThatOfTheWrittenModel) {
  pack();
  QuantizedWeights weights = seen();
  for (size_t i = 0; i < plan_.linears.size(); ++i) weights.set_bits(i, plan_.linears[i].bits);
  const DenseWeights dense(checkpoint_, config_);
  const auto written = open_model(packed_dir());
  std::vector<Sequence> sequences(2, Sequence(20));
  Rng rng(4);
  for (Sequence& s : sequences) {
    for (TokenId& id : s) id = static_cast<TokenId>(rng.below(kVocab));
  }
  double nats = 0;
  for (const Sequence& s : sequences) nats += kl_divergence(logits_of(dense, s), logits_of(*written, s), nullptr);
  // The same f32 weights in both, but for the order of sums.
  EXPECT_NEAR(mean_loss(LossKind::kKl, weights, sequences, reference_hidden(dense, sequences)), nats / 40,
              1e-4 * nats / 40);
}

TEST_P(PackedVocab, SizesAreThoseOfTheFileAndCountPadding) {
  const PackedSize size = pack();
  const Checkpoint written(packed_dir());
  // By hand. 117 rows are stored as 3 panels of 32 and one of 32 (21 rounded up to strips of 16); 64 columns in blocks
  // of 40 (2 groups) and 24 (2 groups): 128 x 64 codes, 128 x 4 scales and zeros of bits + 1 bits, 8 widths.
  const auto bytes = [](int bits) { return 128 * 64 * bits / 8 + 128 * 4 + 128 * 4 * (bits + 1) / 8 + 8; };
  EXPECT_EQ(size.embed_bytes, bytes(plan_.vocab.embed));
  EXPECT_EQ(size.head_bytes, GetParam() ? 0 : bytes(plan_.vocab.head));
  EXPECT_EQ(size.quantized_bytes, plan_.bytes());
  EXPECT_EQ(size.quantized_bytes + size.embed_bytes + size.head_bytes + size.dense_bytes, written.tensor_bytes());
  EXPECT_EQ(size.file_bytes, static_cast<int64_t>(fs::file_size(packed_dir() / "model.safetensors")));
}

/// Of a model with two matrices.
class TwoVocabMatrices : public PackedVocab {};

INSTANTIATE_TEST_SUITE_P(Head, TwoVocabMatrices, ::testing::Values(false));

TEST_P(TwoVocabMatrices, OnlyTheOneThatWasAskedForIsPacked) {
  plan_.vocab = {kDenseBits, 4};
  pack();
  const Checkpoint written(packed_dir());
  EXPECT_TRUE(written.contains("lm_head.codes") && !written.contains("lm_head.weight"));
  EXPECT_TRUE(written.contains("model.embed_tokens.weight") && !written.contains("model.embed_tokens.codes"));
  const auto model = open_model(packed_dir());
  EXPECT_TRUE(at::equal(model->head(), expected_head()));
  EXPECT_TRUE(at::equal(model->embed(all_ids()), DenseWeights(checkpoint_, config_, plan_.order).embed(all_ids())));
}

TEST_P(PackedVocab, ExportHoldsTheDecodedMatrices) {
  pack();
  fs::create_directories(dir_ / "export");
  write_dense(packed_dir(), DType::kF32, dir_ / "export", silent_log());
  const auto tensors = read_tensors(dir_ / "export");
  EXPECT_TRUE(at::equal(tensors.at("model.embed_tokens.weight"), expected_embed()));
  EXPECT_EQ(tensors.contains("lm_head.weight"), !GetParam());
  if (!GetParam()) {
    EXPECT_TRUE(at::equal(tensors.at("lm_head.weight"), expected_head()));
  }
  const Ids ids = {3, 1, 4, 1, 5, 92, 65, 35, 89, 79, 32, 38};
  const at::Tensor dense = logits_of(*open_model(dir_ / "export"), ids);
  EXPECT_LE(max_error(logits_of(*open_model(packed_dir()), ids), dense), 1e-5 * max_magnitude(dense));
}

TEST_P(PackedVocab, TheSamePlanGivesTheSameBytesWhateverTheThreads) {
  set_num_threads(1);
  pack();
  plan_ = read_plan(packed_dir() / "plan.json");
  set_num_threads(3);
  pack("again");
  EXPECT_EQ(read_text_file(packed_dir() / "model.safetensors"), read_text_file(dir_ / "again/model.safetensors"));
}

TEST_P(PackedVocab, PlansOfOtherWidthsAreRefused) {
  const auto refusal = [&](VocabBits bits) {
    plan_.vocab = bits;
    return error_text<FormatError>([&] { check_plan_fits(plan_, config_, plan_.model_fingerprint); });
  };
  EXPECT_THAT(refusal({1, 4}), HasSubstr("embed_bits: got 1, expected 2..8 or 16"));
  EXPECT_THAT(refusal({4, 9}), HasSubstr("head_bits: got 9, expected 2..8 or 16"));
  plan_.vocab = {16, 6};
  if (GetParam()) {
    EXPECT_THAT(refusal({16, 6}), HasSubstr("got 16 and 6, expected the same"));
  }
  if (!GetParam()) {
    EXPECT_NO_THROW(check_plan_fits(plan_, config_, plan_.model_fingerprint));
  }
}

TEST_P(PackedVocab, HostileFilesAreRefusedByName) {
  pack();
  const std::string name = GetParam() ? "model.embed_tokens" : "lm_head";
  const auto refusal = [&](const std::string& part, const std::function<void(RawTensor&)>& change) {
    rewrite_tensor(packed_dir(), dir_ / "hostile", name + part, change);
    return error_text<FormatError>([&] { (void)logits_of(*open_model(dir_ / "hostile"), {1, 2, 3}); });
  };
  EXPECT_THAT(refusal(".bits", [](RawTensor& t) { t.bytes[3] = std::byte{9}; }),
              HasSubstr("[" + name + "] width of block 3: got 9, expected 1..8"));
  EXPECT_THAT(refusal(".bits", [](RawTensor& t) { t.bytes[0] = std::byte{0}; }), HasSubstr("width of block 0: got 0"));
  EXPECT_THAT(refusal(".bits", [](RawTensor& t) { t.resize(7); }), HasSubstr("[" + name + "] width map: got 7 bytes"));
  EXPECT_THAT(refusal(".codes", [](RawTensor& t) { t.resize(t.bytes.size() - 1); }), HasSubstr("[" + name + "] codes"));
  EXPECT_THAT(refusal(".zeros", [](RawTensor& t) { t.resize(0); }), HasSubstr("[" + name + "] zeros: got 0 bytes"));
  EXPECT_THAT(refusal(".scales", [](RawTensor& t) { t.spec.dtype = DType::kI8; }),
              HasSubstr("[" + name + ".scales] dtype: got I8, expected U8"));
  EXPECT_THAT(refusal(".scales", [](RawTensor& t) { t.spec.name = "other"; }), HasSubstr(name + ".scales"));
  EXPECT_THAT(refusal(".codes", [](RawTensor& t) { t.spec.name = "other"; }), HasSubstr(name + ".weight"));
}

TEST_P(PackedVocab, ATokenOutsideTheVocabularyIsRefused) {
  pack();
  const auto model = open_model(packed_dir());
  for (const TokenId bad : {-1, 117, 127, 1 << 30}) {  // 117..127 lie in the padding of the last strip
    EXPECT_THAT(error_text<InvalidArgument>([&] { (void)model->embed(Ids{1, bad}); }), HasSubstr("expected 0..116"));
  }
}

}  // namespace
}  // namespace scalebits::test
