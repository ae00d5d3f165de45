// SPDX-License-Identifier: Apache-2.0
#include <cmath>

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

std::string demo() { return test::demo_model().string(); }

class Eval : public testing::Test {
 protected:
  Eval() {
    std::ofstream file(dir_ / "text.txt");
    for (int i = 0; i < 400; ++i) file << "It was a dark night, and the " << i << " horses went home. ";
  }
  [[nodiscard]] std::string text() const { return dir_ / "text.txt"; }
  /// Result of a successful run.
  [[nodiscard]] Json result(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--json", dir_ / "r.json"});
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return read_json(dir_ / "r.json")["result"];
  }
  test::TempDir dir_;
};

TEST_F(Eval, PplPrintsTheProtocolAndTheResult) {
  const Outcome outcome = run_program({"eval", "ppl", demo(), "--text", text(), "--seqlen", "256", "--windows", "3"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("protocol      gptq"), HasSubstr("256 tokens, stride 256"), HasSubstr("BOS"),
                                 HasSubstr("3 windows, 765 predicted"), HasSubstr("perplexity    ")));
  EXPECT_EQ(outcome.err, "");  // progress of a short run leaves no lines where there is no terminal
}

TEST_F(Eval, PplRecordHasTheContractsKeys) {
  const Json r =
      result({"eval", "ppl", demo(), "--text", text(), "--protocol", "llamacpp", "--seqlen", "128", "--windows", "4"});
  EXPECT_EQ(r["protocol"], "llamacpp");
  EXPECT_EQ(r["seqlen"], 128);
  EXPECT_EQ(r["windows"], 4);
  EXPECT_EQ(r["tokens"], 4 * 63);
  EXPECT_NEAR(std::log(r["perplexity"].get<double>()), r["nll"].get<double>(), 1e-12);
}

TEST_F(Eval, KlOfAModelFromItselfIsZero) {
  const Json r = result({"eval", "kl", demo(), "--ref", demo(), "--text", text(), "--windows", "2"});
  EXPECT_EQ(r["kl_mean"], 0.0);
  EXPECT_EQ(r["kl_p90"], 0.0);
  EXPECT_EQ(r["kl_p99"], 0.0);
  EXPECT_EQ(r["kl_p999"], 0.0);
  EXPECT_EQ(r["same_top"], 1.0);
  EXPECT_EQ(r["tokens"], 2 * 511);
  EXPECT_EQ(r["perplexity"], r["perplexity_ref"]);
}

TEST_F(Eval, PackedModelsLoseLessWithMoreBits) {
  std::vector<double> kl;
  for (const uint8_t bits : {2, 4, 8}) {
    const auto dir = dir_ / ("packed" + std::to_string(bits));
    test::pack_model(test::demo_model(), dir, {}, [&](int64_t, Slot, int64_t) { return bits; });
    kl.push_back(result({"eval", "kl", dir.string(), "--ref", demo(), "--text", text(), "--windows", "2"})["kl_mean"]);
  }
  EXPECT_GT(kl[0], kl[1]);
  EXPECT_GT(kl[1], kl[2]);
  EXPECT_GT(kl[2], 0);
  EXPECT_LT(kl[2], 0.001);  // 8 bits: 31.168 against 31.165 in the model's README
}

TEST_F(Eval, DumpTokensWritesTheWindows) {
  (void)result({"eval", "ppl", demo(), "--text", text(), "--protocol", "llamacpp", "--seqlen", "64", "--windows", "2",
                "--dump-tokens", dir_ / "ids"});
  std::ifstream file(dir_ / "ids", std::ios::binary);
  std::vector<int32_t> ids(129);
  file.read(reinterpret_cast<char*>(ids.data()), 129 * 4);
  EXPECT_EQ(file.gcount(), 2 * 64 * 4);
  EXPECT_EQ(ids[0], 4094);  // <|begin_of_text|>, in both windows
  EXPECT_EQ(ids[64], 4094);
  EXPECT_NE(ids[1], 4094);
}

TEST_F(Eval, DocumentsAreScoredOneByOne) {
  std::ofstream(dir_ / "docs.txt") << "One day it rained.\n---\nThe sun came out.\n---\n";
  const Json r = result({"eval", "ppl", demo(), "--text", dir_ / "docs.txt", "--doc-separator", "---"});
  EXPECT_EQ(r["protocol"], "documents");
  EXPECT_EQ(r["windows"], 2);
  EXPECT_EQ(r["tokens"].get<int64_t>() + 2, r["text_tokens"].get<int64_t>());  // all but the two BOS
}

TEST_F(Eval, BadArgumentsExitWith2) {
  const auto error = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"eval", "ppl", demo(), "--text", text()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    return outcome.err;
  };
  EXPECT_EQ(
      error({"--seqlen", "513"}),
      "scalebits eval: error: [--seqlen] got 513, expected at most 512 (max_position_embeddings of the model).\n");
  EXPECT_THAT(error({"--seqlen", "0"}), HasSubstr("--seqlen"));
  EXPECT_THAT(error({"--seqlen", "many"}), HasSubstr("--seqlen"));
  EXPECT_THAT(error({"--protocol", "hf"}), HasSubstr("--protocol"));
  EXPECT_THAT(error({"--protocol", "gptq", "--doc-separator", "x"}), HasSubstr("excludes"));
  EXPECT_THAT(error({"--windows", "-3"}), HasSubstr("--windows"));
  EXPECT_THAT(error({"--dtype", "f16"}), HasSubstr("--dtype"));
  EXPECT_THAT(error({"--doc-separator", "x", "--dump-tokens", dir_ / "ids"}), HasSubstr("[--dump-tokens]"));
}

TEST_F(Eval, BadTextsExitWith3AndMissingOnesWith1) {
  const auto run = [&](const std::string& content) {
    std::ofstream(dir_ / "bad.txt", std::ios::binary) << content;
    return run_program({"eval", "ppl", demo(), "--text", dir_ / "bad.txt"});
  };
  const Outcome brief = run("Too short.");
  EXPECT_EQ(brief.exit_code, 3);
  EXPECT_THAT(brief.err, HasSubstr("expected at least 512 (one window)"));
  EXPECT_EQ(run("").exit_code, 3);
  const Outcome latin = run("caf\xe9 au lait");
  EXPECT_EQ(latin.exit_code, 3);
  EXPECT_THAT(latin.err, HasSubstr("byte 3: got 0xe9"));
  const Outcome missing = run_program({"eval", "ppl", demo(), "--text", "/no/such/text"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, StartsWith("scalebits eval: error: [/no/such/text]"));
}

TEST_F(Eval, KlRefusesAnotherTokenizer) {
  std::filesystem::copy(test::demo_model(), dir_ / "other");
  std::ofstream(dir_ / "other" / "tokenizer.json", std::ios::app) << "\n";
  const Outcome outcome = run_program({"eval", "kl", demo(), "--ref", dir_ / "other", "--text", text()});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("[--ref] tokenizer: got one with checksum"));
}

TEST_F(Eval, PackedModelsHaveNoBf16Arithmetic) {
  test::pack_model(test::demo_model(), dir_ / "packed", {}, [](int64_t, Slot, int64_t) { return uint8_t{2}; });
  const Outcome outcome = run_program({"eval", "ppl", dir_ / "packed", "--text", text(), "--dtype", "bf16"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("[--dtype] got bf16, expected f32"));
}

TEST_F(Eval, Bf16IsCloseToF32) {
  const std::vector<std::string> arguments = {"eval", "ppl", demo(), "--text", text(), "--windows", "2"};
  std::vector<std::string> rounded = arguments;
  rounded.insert(rounded.end(), {"--dtype", "bf16"});
  const double exact = result(arguments)["nll"], close = result(rounded)["nll"];
  EXPECT_NE(exact, close);
  EXPECT_NEAR(exact, close, 0.02);  // a few times 2^-8, the rounding of one activation
}

TEST_F(Eval, RoundedActivationsChangeTheKlALittle) {
  test::pack_model(test::demo_model(), dir_ / "packed", {}, [](int64_t, Slot, int64_t) { return uint8_t{3}; });
  double kl[2] = {};
  for (const bool rounded : {false, true}) {
    const Outcome outcome =
        run_program({"eval", "kl", dir_ / "packed", "--ref", test::demo_model().string(), "--text", text(), "--seqlen",
                     "128", "--activations", rounded ? "int8" : "f32", "--json", dir_ / "r.json"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json r = read_json(dir_ / "r.json")["result"];
    EXPECT_EQ(r["activations"], rounded ? "int8" : "f32");
    kl[rounded] = r["kl_mean"].get<double>();
  }
  EXPECT_NE(kl[0], kl[1]);
  EXPECT_NEAR(kl[1], kl[0], 0.05 * kl[0]);
  const Outcome dense =
      run_program({"eval", "ppl", test::demo_model().string(), "--text", text(), "--activations", "int8"});
  EXPECT_EQ(dense.exit_code, 2);
  EXPECT_THAT(dense.err, HasSubstr("[--activations] got int8, expected f32"));
}

}  // namespace
}  // namespace scalebits
