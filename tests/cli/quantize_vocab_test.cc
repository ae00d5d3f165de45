// SPDX-License-Identifier: Apache-2.0
/// quantize --embed-bits and --head-bits, end to end.
#include <csignal>
#include <thread>

#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "tests/cli/run_program.h"
#include "tests/model/checkpoint_copy.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::run_program;
using testing::AllOf;
using testing::HasSubstr;

/// demo-5m: 4096 x 256 in bf16. In blocks of 64 x 128: 64 x 2 blocks, 2 groups of 128 to a row.
constexpr int64_t kDenseBytes = 4096 * 256 * 2;
constexpr int64_t packed_bytes(int bits) {
  return 4096 * 256 * bits / 8 + 4096 * 2 + 4096 * 2 * (bits < 8 ? bits + 1 : 8) / 8 + 64 * 2;
}

class QuantizeVocab : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> arguments(const std::string& model, const std::string& out,
                                                   std::vector<std::string> more) const {
    std::vector<std::string> all = {
        "quantize",     model, "-o",      dir_ / out, "--nsamples",          "4", "--seqlen", "64", "--block", "64x128",
        "--iterations", "2",   "--quiet", "--json",   dir_ / (out + ".json")};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome quantize(const std::string& out, std::vector<std::string> more) const {
    return run_program(arguments(test::demo_model().string(), out, std::move(more)));
  }
  [[nodiscard]] Json record(const std::string& out) const { return read_json(dir_ / (out + ".json"))["result"]; }
  [[nodiscard]] std::string weights(const std::string& out) const {
    return read_text_file(dir_ / (out + "/model.safetensors"));
  }
  /// A reader that shares no code with us decodes the packed bytes to what `export` writes.
  void expect_export_equals_reader(const std::string& out) const {
    ASSERT_EQ(run_program({"export", dir_ / out, "-o", dir_ / (out + ".dense")}).exit_code, 0);
    const std::string reader = (test::source_dir() / "tools/golden/packed_reader.py").string();
    const std::string command = "/usr/bin/python3 " + reader + " " + (dir_ / out).string() + " " +
                                (dir_ / (out + ".dense")).string() + " > /dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
  test::TempDir dir_;
};

TEST_F(QuantizeVocab, WritesASoundModelWhoseBytesAreAccountedFor) {
  const Outcome outcome = quantize("out", {"--target-bpw", "2.5", "--head-bits", "6"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("embedding     801,920 bytes at 6 bits; it is also the head\n"));
  EXPECT_EQ(packed_bytes(6), 801'920);
  const Json r = record("out"), plan = read_json(dir_ / "out/plan.json");
  EXPECT_EQ(r["embed_bits"], 6);  // tied: either flag sets both
  EXPECT_EQ(r["head_bits"], 6);
  EXPECT_EQ(r["embed_bytes"], packed_bytes(6));
  EXPECT_EQ(r["head_bytes"], 0);
  EXPECT_LE(r["bpw"], 2.5);  // of the linear layers, as without the flag
  EXPECT_GE(r["bpw"], 2.5 * 0.995);
  EXPECT_EQ(r["file_bytes"], fs::file_size(dir_ / "out/model.safetensors"));
  EXPECT_EQ(plan["embed_bits"], 6);
  EXPECT_EQ(plan["head_bits"], 6);
  EXPECT_EQ(run_program({"verify", dir_ / "out"}).exit_code, 0);
  EXPECT_EQ(run_program({"generate", dir_ / "out", "--prompt", "Once", "-n", "4"}).exit_code, 0);
  const Outcome inspected = run_program({"inspect", dir_ / "out", "--json", dir_ / "i.json"});
  EXPECT_THAT(inspected.out, HasSubstr("embedding     801,920 bytes: 6 bits, 6.1182 with everything counted; "));
  EXPECT_EQ(read_json(dir_ / "i.json")["result"]["vocab"]["model.embed_tokens"]["bytes"], packed_bytes(6));
  expect_export_equals_reader("out");
}

TEST_F(QuantizeVocab, TargetSizeCountsThemAndLeavesTheRestToTheLinearLayers) {
  for (const char* bits : {"16", "8", "3"}) {
    ASSERT_EQ(quantize(bits, {"--target-size", "3.5M", "--method", "uniform", "--embed-bits", bits}).exit_code, 0);
    const uintmax_t size = fs::file_size(dir_ / (std::string(bits) + "/model.safetensors"));
    EXPECT_LE(size, 3'500'000U) << bits;
    EXPECT_GE(size, 3'500'000U * 0.995) << bits;
  }
  // What the embedding gives up is the linear layers', but for the few bytes of three more names in the header.
  const auto budget = [&](const char* bits) { return record(bits)["budget_bytes"].get<int64_t>(); };
  EXPECT_NEAR(budget("8") - budget("16"), kDenseBytes - packed_bytes(8), 600);
  EXPECT_NEAR(budget("3") - budget("8"), packed_bytes(8) - packed_bytes(3), 64);  // the header is padded to 64 bytes
}

TEST_F(QuantizeVocab, ItsPlanGivesTheSameBytes) {
  ASSERT_EQ(quantize("first", {"--target-bpw", "2.5", "--embed-bits", "5", "--quantizer", "rtn"}).exit_code, 0);
  const Outcome again = quantize("again", {"--plan", dir_ / "first/plan.json", "--threads", "1"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(weights("first"), weights("again"));
  EXPECT_EQ(record("again")["embed_bits"], 5);
}

TEST_F(QuantizeVocab, WhatTheSearchReportsIsMeasuredWithThem) {
  const std::vector<std::string> flags = {"--target-bpw", "4", "--method", "uniform", "--reorder", "none"};
  const auto kl = [&](const std::string& out, const char* bits) {
    std::vector<std::string> more = flags;
    more.insert(more.end(), {"--quantizer", "rtn", "--head-bits", bits});
    EXPECT_EQ(quantize(out, more).exit_code, 0);
    return record(out)["heldout_kl"].get<double>();
  };
  // An embedding and head of two bits cost far more than linear layers of four.
  EXPECT_GT(kl("two", "2"), 3 * kl("dense", "16"));
}

TEST_F(QuantizeVocab, AnUntiedHeadHasAWidthOfItsOwn) {
  fs::copy(test::demo_model(), dir_ / "model", fs::copy_options::recursive);
  fs::remove(dir_ / "model/model.safetensors");
  fs::remove(dir_ / "model/config.json");
  test::copy_model(test::demo_model(), dir_ / "model", [](auto& tensors) {
    tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight").flip({1}).contiguous();
  });
  Json config = read_json(dir_ / "model/config.json");
  config["tie_word_embeddings"] = false;
  write_text_file(dir_ / "model/config.json", config.dump());
  const Outcome outcome =
      run_program(arguments(dir_ / "model", "out",
                            {"--target-size", "3.5M", "--method", "uniform", "--embed-bits", "4", "--head-bits", "6"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("at 4 bits\n"), HasSubstr("\nhead          801,920 bytes at 6 bits\n")));
  const uintmax_t size = fs::file_size(dir_ / "out/model.safetensors");
  EXPECT_LE(size, 3'500'000U);
  EXPECT_GE(size, 3'500'000U * 0.995);
  const Json r = record("out");
  EXPECT_EQ(r["embed_bytes"], packed_bytes(4));
  EXPECT_EQ(r["head_bytes"], packed_bytes(6));
  EXPECT_EQ(run_program({"verify", dir_ / "out"}).exit_code, 0);
  expect_export_equals_reader("out");
}

TEST_F(QuantizeVocab, AStoppedRunDoesNotGoOnWithOtherWidths) {
  const std::vector<std::string> flags = {"--target-bpw", "2.5", "--head-bits", "6"};
  test::Program stopped(arguments(test::demo_model().string(), "out", flags));
  for (int i = 0; i < 6000 && !fs::exists(dir_ / "out.work/search.json"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  stopped.signal(SIGINT);
  ASSERT_EQ(stopped.wait().exit_code, 75);
  std::vector<std::string> other = flags;
  other.back() = "5";
  other.insert(other.end(), {"--resume", "required"});
  const Outcome refused = quantize("out", other);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("was written for another model, calibration text, budget or option"));
  std::vector<std::string> same = flags;
  same.insert(same.end(), {"--resume", "required"});
  EXPECT_EQ(quantize("out", same).exit_code, 0);
}

TEST_F(QuantizeVocab, DryRunCountsThem) {
  const auto sizes = [&](const char* bits) {
    const Outcome outcome = quantize("dry", {"--target-bpw", "2.5", "--dry-run", "--head-bits", bits});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("embedding     "));
    return record("dry");
  };
  const Json dense = sizes("16"), four = sizes("4");
  EXPECT_EQ(dense["embed_bytes"], kDenseBytes);
  EXPECT_EQ(four["embed_bytes"], packed_bytes(4));
  EXPECT_EQ(dense["budget_bytes"], four["budget_bytes"]);
  EXPECT_NEAR(dense["file_bytes_at_most"].get<double>() - four["file_bytes_at_most"].get<double>(),
              kDenseBytes - packed_bytes(4), 600);
  EXPECT_GT(four["peak_memory_bytes_estimate"], dense["peak_memory_bytes_estimate"]);
}

TEST_F(QuantizeVocab, WrongWidthsAreUsageErrors) {
  const auto refusal = [&](std::vector<std::string> more) {
    const Outcome outcome = quantize("out", std::move(more));
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_FALSE(fs::exists(dir_ / "out"));
    return outcome.err;
  };
  for (const char* bad : {"0", "1", "9", "15", "17", "-6"}) {
    EXPECT_THAT(refusal({"--target-bpw", "2.5", "--head-bits", bad}),
                HasSubstr(std::string("[--head-bits] got ") + bad + ", expected 2 to 8, or 16"));
    EXPECT_THAT(refusal({"--target-bpw", "2.5", "--embed-bits", bad}), HasSubstr("[--embed-bits] got "));
  }
  EXPECT_THAT(refusal({"--target-bpw", "2.5", "--head-bits", "six"}), HasSubstr("--head-bits"));
  EXPECT_THAT(refusal({"--target-bpw", "2.5", "--head-bits", "6", "--embed-bits", "5"}),
              AllOf(HasSubstr("[--head-bits] got 6 beside --embed-bits 5"), HasSubstr("tie_word_embeddings")));
  ASSERT_EQ(quantize("plan", {"--target-bpw", "2.5", "--method", "uniform", "--quantizer", "rtn"}).exit_code, 0);
  EXPECT_THAT(refusal({"--plan", dir_ / "plan/plan.json", "--head-bits", "6"}),
              HasSubstr("[--head-bits] got it beside --plan"));
}

}  // namespace
}  // namespace scalebits
