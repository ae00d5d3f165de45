// SPDX-License-Identifier: Apache-2.0
// Sensitivities survive the way through a file, and only under their own fingerprint.
#include "scalebits/calibrate/stats_file.h"

#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class StatsFile : public ::testing::Test {
 protected:
  StatsFile() {
    case_.draw_widths(1, 8, 1);
    result_ = gradient_pass(case_.weights, random_sequences(2, 20, 1), {}, {.loss = LossKind::kCe});
    save_stats(path_, result_, case_.layers, "print");
  }
  const TempDir dir_;
  const std::filesystem::path path_ = dir_ / "stats.safetensors";
  QuantizedCase case_;
  PassResult result_;
};

TEST_F(StatsFile, HoldsEveryFieldOfEveryBlockAndChannel) {
  const std::optional<PassResult> loaded = load_stats(path_, case_.layers, "print");
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->loss, result_.loss);
  ASSERT_EQ(loaded->linears.size(), result_.linears.size());
  for (size_t i = 0; i < result_.linears.size(); ++i) {
    const LinearSensitivity &a = loaded->linears[i], &b = result_.linears[i];
    ASSERT_EQ(a.blocks.size(), b.blocks.size());
    for (size_t j = 0; j < a.blocks.size(); ++j) {
      const BlockSensitivity &x = a.blocks[j], &y = b.blocks[j];
      EXPECT_EQ((std::array{x.up, x.down, x.restore, x.err, x.err_up, x.err_down, x.move_up, x.move_down, x.fisher}),
                (std::array{y.up, y.down, y.restore, y.err, y.err_up, y.err_down, y.move_up, y.move_down, y.fisher}));
    }
    EXPECT_EQ(a.row_score, b.row_score);
    EXPECT_EQ(a.col_score, b.col_score);
    EXPECT_EQ(a.row_fisher, b.row_fisher);
    EXPECT_EQ(a.col_fisher, b.col_fisher);
  }
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".tmp"));
}

TEST_F(StatsFile, IsNotUsedForOtherInputsOrWhenAbsent) {
  EXPECT_FALSE(load_stats(path_, case_.layers, "other"));
  EXPECT_FALSE(load_stats(dir_ / "absent", case_.layers, "print"));
}

TEST_F(StatsFile, NamesTheTensorThatDoesNotFit) {
  const QuantizedLayers others =
      find_quantized_layers(case_.dense->config(), {.rows = 16, .cols = 40, .group_size = 20});
  const std::string text = error_text<FormatError>([&] { load_stats(path_, others, "print"); });
  EXPECT_THAT(text, AllOf(HasSubstr("stats.safetensors"), HasSubstr("model.layers.0.self_attn.q_proj.blocks")));
}

}  // namespace
}  // namespace scalebits::test
