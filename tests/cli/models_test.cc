// SPDX-License-Identifier: Apache-2.0
/// inspect and verify on packed and damaged models.
#include "scalebits/io/json.h"
#include "tests/cli/run_program.h"
#include "tests/report/packed_model.h"

namespace scalebits {
namespace {

using test::Outcome;
using test::run_program;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class PackedModel : public testing::Test {
 protected:
  PackedModel() {
    // q_proj is 256 x 256: 2 x 2 blocks.
    test::pack_model(test::demo_model(), dir_ / "packed", {}, [](int64_t layer, Slot p, int64_t block) -> uint8_t {
      return p == Proj::kQ ? static_cast<uint8_t>(2 + block + (layer == 2 ? 1 : 0)) : 3;
    });
  }
  [[nodiscard]] std::string model() const { return dir_ / "packed"; }
  test::TempDir dir_;
};

TEST_F(PackedModel, InspectDrawsTheBlocksOfAMatrix) {
  const Outcome first = run_program({"inspect", model()});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.out, AllOf(HasSubstr("method test, quantizer rtn"), HasSubstr("blocks 128x128"),
                               HasSubstr("model.layers.0.self_attn.q_proj: bits of its 2 x 2 blocks\n23\n45\n")));
  const Outcome other = run_program({"inspect", model(), "--layer", "2", "--proj", "q_proj"});
  EXPECT_THAT(other.out, HasSubstr("model.layers.2.self_attn.q_proj: bits of its 2 x 2 blocks\n34\n56\n"));
  const Outcome up = run_program({"inspect", model(), "--layer", "1", "--proj", "up_proj"});
  EXPECT_THAT(up.out, HasSubstr("5 x 2 blocks\n33\n33\n33\n33\n33\n"));
}

TEST_F(PackedModel, InspectRecordHasTheHistogram) {
  ASSERT_EQ(run_program({"inspect", model(), "--json", dir_ / "r.json"}).exit_code, 0);
  const Json r = read_json(dir_ / "r.json")["result"];
  EXPECT_EQ(r["bits_histogram"]["2"], 5 * 128 * 128);
  EXPECT_EQ(r["bits_histogram"]["6"], 128 * 128);
  EXPECT_EQ(r["layers"].size(), 6U);
  EXPECT_EQ(r["recipe"]["seed"], 42);
}

TEST_F(PackedModel, InspectRefusesALayerOrMatrixThatIsNotThere) {
  const Outcome layer = run_program({"inspect", model(), "--layer", "6"});
  EXPECT_EQ(layer.exit_code, 2);
  EXPECT_THAT(layer.err, HasSubstr("[--layer] got 6, expected 0..5."));
  const Outcome proj = run_program({"inspect", model(), "--proj", "w1"});
  EXPECT_EQ(proj.exit_code, 2);
  EXPECT_THAT(proj.err, HasSubstr("[--proj] got \"w1\", expected one of q_proj, k_proj"));
}

TEST_F(PackedModel, VerifyFindsItSound) {
  const Outcome outcome = run_program({"verify", model(), "--json", dir_ / "r.json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, StartsWith("sound: "));
  EXPECT_EQ(read_json(dir_ / "r.json")["result"]["sound"], true);
}

TEST_F(PackedModel, VerifyListsTheDamageAndExitsWith3) {
  const std::filesystem::path weights = dir_ / "packed" / "model.safetensors";
  {
    std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    const int last = file.peek();
    file.put(static_cast<char>(last ^ 1));
  }
  std::ofstream(dir_ / "packed" / "tokenizer_config.json", std::ios::app) << " ";
  const Outcome outcome = run_program({"verify", model(), "--json", dir_ / "r.json"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 2) << outcome.out;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("] checksum: got"), HasSubstr("tokenizer_config.json] checksum: got")));
  EXPECT_THAT(outcome.err,
              AllOf(StartsWith("scalebits verify: error: ["), HasSubstr("problems: got 2, expected none")));
  EXPECT_EQ(read_json(dir_ / "r.json")["result"]["problems"].size(), 2U);
}

TEST_F(PackedModel, ATruncatedFileExitsWith3) {
  const std::filesystem::path weights = dir_ / "packed" / "model.safetensors";
  std::filesystem::resize_file(weights, std::filesystem::file_size(weights) / 2);
  for (const char* command : {"verify", "inspect"}) {
    const Outcome outcome = run_program({command, model()});
    EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("model.safetensors"));
  }
}

TEST_F(PackedModel, ANewerVersionExitsWith3) {
  Json config = read_json(dir_ / "packed" / "config.json");
  config["quantization_config"]["version"] = 99;
  std::ofstream(dir_ / "packed" / "config.json") << config.dump();
  const Outcome outcome = run_program({"inspect", model()});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("quantization_config.version: got 99"));
}

TEST(DenseModel, InspectShowsShapesAndBytes) {
  const Outcome outcome = run_program({"inspect", test::demo_model().string()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("LlamaForCausalLM, dense"), HasSubstr("5,180,672"),
                                 HasSubstr("10,367,384 in files"), HasSubstr("BF16")));
}

TEST(DenseModel, VerifyFindsItSound) { EXPECT_EQ(run_program({"verify", test::demo_model().string()}).exit_code, 0); }

}  // namespace
}  // namespace scalebits
