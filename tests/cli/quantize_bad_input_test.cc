// SPDX-License-Identifier: Apache-2.0
/// quantize on input that is wrong in every way that users meet: one line that says what, and the right exit code.
#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "tests/cli/run_program.h"
#include "tests/io/file_size_limit.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::run_program;
using testing::AllOf;
using testing::HasSubstr;

class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    fs::copy(test::demo_model(), dir_ / "model", fs::copy_options::recursive);
    for (const auto& entry : fs::recursive_directory_iterator(dir_ / "model")) {
      fs::permissions(entry, fs::perms::owner_write, fs::perm_options::add);
    }
  }
  [[nodiscard]] Outcome quantize(std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"quantize", dir_ / "model", "-o",        dir_ / "out", "--target-bpw",
                                    "2.5",      "--nsamples",   "4",         "--seqlen",   "64",
                                    "--method", "uniform",      "--reorder", "none",       "--quiet"};
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all);
  }
  /// One line on stderr, this exit code, and nothing under the final name or beside it.
  void expect_refusal(const Outcome& outcome, int exit_code, const testing::Matcher<std::string>& message) const {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(testing::StartsWith("scalebits quantize: error: ["), message));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      EXPECT_THAT(entry.path().filename().string(), testing::Not(testing::HasSubstr(".tmp")));
      EXPECT_NE(entry.path().filename(), "out");
    }
  }
  void edit_config(const std::function<void(Json&)>& edit) const {
    Json json = read_json(dir_ / "model/config.json");
    edit(json);
    write_text_file(dir_ / "model/config.json", json.dump());
  }
  [[nodiscard]] fs::path weights() const { return dir_ / "model/model.safetensors"; }
  test::TempDir dir_;
};

TEST_F(BadInput, MissingWeights) {
  fs::remove(weights());
  expect_refusal(quantize(), 3, HasSubstr("model.safetensors"));
}

TEST_F(BadInput, TruncatedWeights) {
  fs::resize_file(weights(), fs::file_size(weights()) - 1000);
  expect_refusal(quantize(), 3, HasSubstr("Was the file truncated?"));
}

TEST_F(BadInput, TensorOfAnotherShapeThanTheConfigAsksFor) {
  edit_config([](Json& j) { j["intermediate_size"] = 672; });
  expect_refusal(quantize(), 3, AllOf(HasSubstr("model.layers.0.mlp.gate_proj.weight"), HasSubstr("672")));
}

TEST_F(BadInput, AnEmptyValueIsNoFlagThatIsNotThere) {
  for (const char* flag : {"--plan", "--target-size", "--target-bpw", "--calib", "--work", "--max-ram", "--stats",
                           "--score", "--frontier", "--json"}) {
    const Outcome outcome = run_program({"quantize", dir_ / "model", "-o", dir_ / "out", "--dry-run", flag, ""});
    EXPECT_EQ(outcome.exit_code, 2) << flag;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr(flag), HasSubstr("got \"\"")));
  }
}

TEST_F(BadInput, ConfigWithoutANeededKey) {
  edit_config([](Json& j) { j.erase("hidden_size"); });
  expect_refusal(quantize(), 3, HasSubstr("hidden_size: missing"));
}

TEST_F(BadInput, UnknownArchitectureSaysWhichAreKnown) {
  edit_config([](Json& j) { j["architectures"] = {"MambaForCausalLM"}; });
  expect_refusal(quantize(), 3, AllOf(HasSubstr("MambaForCausalLM"), HasSubstr("LlamaForCausalLM")));
}

TEST_F(BadInput, NotAWeightIsNamedWithItsIndex) {
  // The last tensor of the file in bf16: its last value becomes NaN (0x7fc0).
  std::string file = read_text_file(weights());
  file[file.size() - 2] = static_cast<char>(0xc0);
  file[file.size() - 1] = static_cast<char>(0x7f);
  write_text_file(weights(), file);
  expect_refusal(quantize(), 3, AllOf(HasSubstr("got nan, expected a finite number"), HasSubstr("weight] value at [")));
}

TEST_F(BadInput, EmptyCalibrationText) {
  write_text_file(dir_ / "calib.txt", "");
  expect_refusal(quantize({"--calib", dir_ / "calib.txt"}), 3, HasSubstr("calib.txt"));
}

TEST_F(BadInput, CalibrationTextTooShort) {
  write_text_file(dir_ / "calib.txt", "Call me Ishmael.");
  expect_refusal(quantize({"--calib", dir_ / "calib.txt"}), 3,
                 AllOf(HasSubstr("expected at least 126"), HasSubstr("--seqlen")));
}

TEST_F(BadInput, CalibrationTextThatIsNotUtf8) {
  write_text_file(dir_ / "calib.txt", "caf\xe9 au lait");
  expect_refusal(quantize({"--calib", dir_ / "calib.txt"}), 3, AllOf(HasSubstr("UTF-8"), HasSubstr("3")));
}

TEST_F(BadInput, MissingCalibrationFile) {
  expect_refusal(quantize({"--calib", dir_ / "none.txt"}), 1, HasSubstr("none.txt"));
}

TEST_F(BadInput, FullDiskLeavesNothingBehind) {
  // The packed weights take 3.4 MB; the system refuses to let a file grow beyond 1 MB.
  const test::FileSizeLimit limit(1 << 20);
  expect_refusal(quantize(), 1, HasSubstr("File too large"));
}

TEST_F(BadInput, PackedModelCannotBeQuantizedAgain) {
  edit_config([](Json& j) { j["quantization_config"] = {{"quant_method", "gptq"}}; });
  expect_refusal(quantize(), 3, AllOf(HasSubstr("gptq"), HasSubstr("expected a dense checkpoint")));
}

TEST_F(BadInput, WrongFlagsSayWhatIsExpected) {
  expect_refusal(quantize({"--block", "100x128"}), 2, HasSubstr("16"));
  expect_refusal(quantize({"--block", "128"}), 2, HasSubstr("expected ROWSxCOLS"));
  expect_refusal(quantize({"--quantizer", "best"}), 2, HasSubstr("rtn, clip, gptq"));
  expect_refusal(quantize({"--ignore", "("}), 2, HasSubstr("regular expression"));
  expect_refusal(quantize({"--ignore", "."}), 2, HasSubstr("every linear layer"));
  expect_refusal(quantize({"--tensor-type", "down_proj=9"}), 2, HasSubstr("expected REGEX=BITS"));
  expect_refusal(quantize({"--tensor-type", "dwon_proj=4"}), 2, HasSubstr("got no linear layer"));
  expect_refusal(quantize({"--tensor-type", "(=4"}), 2, HasSubstr("regular expression"));
  expect_refusal(quantize({"--tensor-type", "down_proj=8"}), 2, HasSubstr("6 matrices have a fixed width"));
  expect_refusal(quantize({"--max-ram", "1M"}), 2, HasSubstr("--max-ram"));
  expect_refusal(quantize({"--max-ram", "much"}), 2, HasSubstr("expected a size"));
}

}  // namespace
}  // namespace scalebits
