// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/verify.h"

#include <cmath>
#include <fstream>

#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/report/packed_model.h"

namespace scalebits {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> problems(const std::filesystem::path& dir) { return verify_model(dir, silent_log()).problems; }

/// Flips one bit of a tensor's stored bytes.
void flip(const std::filesystem::path& dir, const std::string& name, size_t byte, unsigned char mask = 1) {
  const std::filesystem::path path = dir / "model.safetensors";
  size_t offset = 0;
  {
    const SafetensorsFile file(path);
    for (const TensorView& tensor : file.tensors()) {
      if (tensor.name == name) offset = static_cast<size_t>(tensor.bytes.data() - file.file().bytes().data()) + byte;
    }
  }
  ASSERT_NE(offset, 0U) << name;
  std::fstream stream(path, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(offset));
  const int old = stream.get();
  stream.seekp(static_cast<std::streamoff>(offset));
  stream.put(static_cast<char>(old ^ mask));
}

class VerifyPacked : public testing::Test {
 protected:
  VerifyPacked() {
    test::pack_model(test::demo_model(), dir(), {}, [](int64_t, Slot p, int64_t) { return p == Proj::kV ? 4 : 2; });
  }
  [[nodiscard]] std::filesystem::path dir() const { return parent_ / "packed"; }
  test::TempDir parent_;
};

TEST_F(VerifyPacked, FindsNothingInWhatWasJustWritten) {
  const Verification v = verify_model(dir(), silent_log());
  EXPECT_THAT(v.problems, IsEmpty());
  EXPECT_EQ(v.tensors, static_cast<int64_t>(Checkpoint(dir()).names().size()));
  EXPECT_GT(v.checksums, v.tensors);  // those of whole files too
}

TEST_F(VerifyPacked, NamesTheTensorOfASingleChangedBit) {
  for (const char* part : {"codes", "zeros"}) {
    const std::string name = std::string("model.layers.3.mlp.up_proj.") + part;
    flip(dir(), name, 5);
    ASSERT_THAT(problems(dir()), ElementsAre(HasSubstr("[" + name + "] checksum: got"))) << part;
    flip(dir(), name, 5);
  }
  flip(dir(), "model.norm.weight", 0);
  EXPECT_THAT(problems(dir()), ElementsAre(HasSubstr("[model.norm.weight] checksum")));
}

TEST_F(VerifyPacked, NamesAWidthThatIsNone) {
  flip(dir(), "model.layers.0.self_attn.q_proj.bits", 0, 0x40);
  EXPECT_THAT(problems(dir()), ElementsAre(HasSubstr("model.layers.0.self_attn.q_proj"),
                                           HasSubstr("[model.layers.0.self_attn.q_proj.bits] checksum")));
}

TEST_F(VerifyPacked, NamesAFileThatWasChangedOrIsMissing) {
  std::ofstream(dir() / "tokenizer_config.json", std::ios::app) << "\n";
  EXPECT_THAT(problems(dir()), ElementsAre(HasSubstr("tokenizer_config.json] checksum")));
  std::filesystem::remove(dir() / "tokenizer_config.json");
  EXPECT_THAT(problems(dir()), ElementsAre(HasSubstr("tokenizer_config.json] file: missing")));
}

TEST_F(VerifyPacked, NamesAMissingMatrixAndATensorThatNobodyAskedFor) {
  Json config = read_json(dir() / "config.json");
  config["num_hidden_layers"] = 5;
  std::ofstream(dir() / "config.json") << config.dump();
  const auto found = problems(dir());
  ASSERT_EQ(found.size(), 2U + 7 * 4);  // two norms and four parts of seven matrices
  EXPECT_THAT(found.front(), HasSubstr("expected no such tensor"));
  config["num_hidden_layers"] = 7;
  std::ofstream(dir() / "config.json") << config.dump();
  ASSERT_EQ(problems(dir()).size(), 2U + 7);
  EXPECT_THAT(problems(dir()).front(), HasSubstr("tensor \"model.layers.6.input_layernorm.weight\": missing"));
}

TEST_F(VerifyPacked, LooksAtPackedVocabularyMatrices) {
  const std::filesystem::path packed = parent_ / "vocab";
  test::pack_model(test::demo_model(), packed, {}, [](int64_t, Slot, int64_t) { return uint8_t{2}; }, {6, 6});
  EXPECT_THAT(problems(packed), IsEmpty());
  flip(packed, "model.embed_tokens.codes", 99);
  EXPECT_THAT(problems(packed), ElementsAre(HasSubstr("[model.embed_tokens.codes] checksum: got")));
  flip(packed, "model.embed_tokens.codes", 99);
  flip(packed, "model.embed_tokens.bits", 0, 16);  // 6 becomes 22
  EXPECT_THAT(problems(packed), ElementsAre(HasSubstr("[model.embed_tokens] width of block 0: got 22"),
                                            HasSubstr("[model.embed_tokens.bits] checksum")));
}

TEST_F(VerifyPacked, RefusesATruncatedFile) {
  std::filesystem::resize_file(dir() / "model.safetensors",
                               std::filesystem::file_size(dir() / "model.safetensors") - 1);
  EXPECT_THROW(problems(dir()), FormatError);
}

TEST(VerifyDense, FindsNothingInTheDemoModel) { EXPECT_THAT(problems(test::demo_model()), IsEmpty()); }

TEST(VerifyDense, ListsEveryProblem) {
  const test::TempDir dir;
  test::copy_model(test::tiny_gqa(), dir / "model", [](auto& tensors) {
    tensors.at("model.layers.0.mlp.up_proj.weight")[3][5] = std::nan("");
    tensors.at("lm_head.weight")[0][1] = -INFINITY;
    tensors.erase("model.layers.1.self_attn.k_proj.bias");
    tensors.at("model.layers.1.input_layernorm.weight") = at::ones({65});
  });
  EXPECT_THAT(problems(dir / "model"),
              ElementsAre(HasSubstr("\"model.layers.1.input_layernorm.weight\" shape: got [65], expected [64]"),
                          HasSubstr("\"model.layers.1.self_attn.k_proj.bias\": missing"),
                          HasSubstr("[lm_head.weight] element 1: got NaN or Inf"),
                          HasSubstr("[model.layers.0.mlp.up_proj.weight] element 197: got NaN or Inf")));  // 3 * 64 + 5
}

TEST(FirstNonFinite, KnowsTheFloatDtypes) {
  const auto view = [](DType dtype, std::span<const std::byte> bytes) {
    return TensorView{.name = "t",
                      .dtype = dtype,
                      .shape = {static_cast<int64_t>(bytes.size()) / dtype_bytes(dtype)},
                      .bytes = bytes};
  };
  const std::vector<uint16_t> halves = {0x7bff, 0xfbff, 0xfc00};   // largest, lowest, -inf
  const std::vector<uint16_t> bfloats = {0x7f7f, 0x7fc0, 0x0000};  // largest, NaN, 0
  const std::vector<float> floats = {3e38F, -0.0F, 1e-45F, INFINITY};
  const std::vector<double> doubles = {1e308, -1e308, std::nan("")};
  EXPECT_EQ(first_non_finite(view(DType::kF16, std::as_bytes(std::span(halves)))), 2);
  EXPECT_EQ(first_non_finite(view(DType::kF16, std::as_bytes(std::span(halves).first(2)))), std::nullopt);
  EXPECT_EQ(first_non_finite(view(DType::kBF16, std::as_bytes(std::span(bfloats)))), 1);
  EXPECT_EQ(first_non_finite(view(DType::kF32, std::as_bytes(std::span(floats)))), 3);
  EXPECT_EQ(first_non_finite(view(DType::kF64, std::as_bytes(std::span(doubles)))), 2);
  EXPECT_EQ(first_non_finite(view(DType::kU8, std::as_bytes(std::span(halves)))), std::nullopt);
}

}  // namespace
}  // namespace scalebits
