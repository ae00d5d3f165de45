// SPDX-License-Identifier: Apache-2.0
/// Mixtures of experts through the program: which experts the calibration text reaches, and what is said of it.
#include <algorithm>
#include <numeric>

#include "tests/cli/run_program.h"
#include "tests/io/tokenizer_files.h"
#include "tests/pack/rewrite.h"

namespace scalebits {
namespace {

using test::Outcome;
using test::run_program;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kExperts = 8, kActive = 2;

/// Mixtral's golden model with a router whose last expert is never chosen in layer 0: its logit is 0, and of two pairs
/// of opposite logits one each is above.
class QuantizeExperts : public testing::Test {
 protected:
  QuantizeExperts() {
    const auto change = [](test::RawTensor& router) {
      ASSERT_EQ(router.spec.dtype, DType::kBF16);
      auto* rows = reinterpret_cast<uint16_t*>(router.bytes.data());
      const auto width = static_cast<size_t>(router.spec.shape[1]);
      for (size_t c = 0; c < width; ++c) {
        rows[width + c] = rows[c] ^ 0x8000U;
        rows[3 * width + c] = rows[2 * width + c] ^ 0x8000U;
        rows[(kExperts - 1) * width + c] = 0;
      }
    };
    test::rewrite_tensor(test::source_dir() / "tests/model/golden/moe/mixtral", dir_ / "model",
                         "model.layers.0.block_sparse_moe.gate.weight", change);
    write_text_file(dir_ / "model/tokenizer.json", test::small_tokenizer().dump());
    std::string text;
    for (uint32_t i = 0, state = 1; i < 4000; ++i) {
      state = state * 1664525U + 1013904223U;
      text += "abcde "[(state >> 16) % 6];
    }
    write_text_file(dir_ / "text.txt", text);
  }

  Outcome quantize(std::vector<std::string> more) const {
    std::vector<std::string> all = {
        "quantize",  dir_ / "model", "--calib", dir_ / "text.txt", "--block", "16x16",        "--group-size",
        "16",        "--nsamples",   "4",       "--seqlen",        "32",      "--iterations", "2",
        "--no-guard"};
    if (std::find(more.begin(), more.end(), "--plan") == more.end()) all.insert(all.end(), {"--target-bpw", "5"});
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all);
  }
  [[nodiscard]] std::string weights(const std::string& out) const {
    return read_text_file(dir_ / (out + "/model.safetensors"));
  }
  test::TempDir dir_;
};

TEST_F(QuantizeExperts, CountsTheTokensOfEachExpertAndWarnsOfThoseWithFew) {
  const Outcome outcome = quantize({"-o", dir_ / "out", "--json", dir_ / "r.json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json coverage = read_json(dir_ / "r.json")["result"]["expert_coverage"];
  ASSERT_EQ(coverage.size(), 2U);
  int64_t tokens = -1;
  for (const Json& layer : coverage) {
    const auto counts = layer["tokens"].get<std::vector<int64_t>>();
    ASSERT_EQ(counts.size(), static_cast<size_t>(kExperts));
    const int64_t sum = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    EXPECT_EQ(sum % kActive, 0);
    EXPECT_GT(sum, 0);
    EXPECT_TRUE(tokens < 0 || tokens == sum) << "every token goes to as many experts in every layer";
    tokens = sum;
  }
  EXPECT_EQ(coverage[0]["tokens"][kExperts - 1], 0);
  EXPECT_THAT(outcome.out, HasSubstr("tokens of an expert: mean"));
  EXPECT_THAT(outcome.out, HasSubstr("least 0 (expert "));
  EXPECT_THAT(outcome.err,
              testing::ContainsRegex("layer 0: fewer tokens than 10 % of the mean go to expert [0-9, ]*7"));
  EXPECT_THAT(outcome.err, HasSubstr("More calibration text or --all-experts would help"));
  EXPECT_EQ(run_program({"verify", dir_ / "out"}).exit_code, 0);
}

TEST_F(QuantizeExperts, AllExpertsLearnsFromTokensThatGoElsewhere) {
  const auto bits = [&](const std::string& out) { return read_json(dir_ / (out + "/plan.json")); };
  ASSERT_EQ(quantize({"-o", dir_ / "few", "--quiet"}).exit_code, 0);
  const Outcome every = quantize({"-o", dir_ / "every", "--all-experts"});
  ASSERT_EQ(every.exit_code, 0) << every.err;
  EXPECT_THAT(every.err, HasSubstr("go to expert"));
  EXPECT_THAT(every.err, Not(HasSubstr("--all-experts would help")));
  Json few = bits("few"), all = bits("every");
  EXPECT_NE(few["linears"], all["linears"]);
  EXPECT_EQ(run_program({"verify", dir_ / "every"}).exit_code, 0);
}

TEST_F(QuantizeExperts, AllExpertsIsPartOfTheCalibrationThatAPlanWasMadeWith) {
  const std::string stats = dir_ / "stats";
  const Outcome first = quantize({"-o", dir_ / "a", "--quantizer", "clip", "--all-experts", "--stats", stats});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const Outcome same = quantize({"-o", dir_ / "same", "--plan", dir_ / "a", "--all-experts"});
  EXPECT_THAT(same.err, Not(HasSubstr("other calibration")));
  EXPECT_EQ(weights("a"), weights("same"));
  const Outcome routed = quantize({"-o", dir_ / "routed", "--plan", dir_ / "a"});
  EXPECT_THAT(routed.err, HasSubstr("other calibration"));
  EXPECT_FALSE(weights("a") == weights("routed"));

  const Outcome other = quantize({"-o", dir_ / "b", "--quantizer", "clip", "--stats", stats});
  EXPECT_THAT(other.err, Not(HasSubstr("statistics read")));
  const Outcome again = quantize({"-o", dir_ / "b", "--quantizer", "clip", "--stats", stats});
  EXPECT_THAT(again.err, HasSubstr("statistics read"));
}

TEST_F(QuantizeExperts, AllExpertsOfADenseModelIsAWrongUse) {
  const Outcome outcome =
      run_program({"quantize", test::demo_model().string(), "-o", dir_ / "out", "--target-bpw", "3", "--all-experts"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("[--all-experts] got it for"));
  EXPECT_FALSE(std::filesystem::exists(dir_ / "out"));
}

}  // namespace
}  // namespace scalebits
