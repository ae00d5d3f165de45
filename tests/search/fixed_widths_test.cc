// SPDX-License-Identifier: Apache-2.0
// Widths that the user gave stay where they are, by every method and in every count of bytes.
#include <gtest/gtest.h>

#include "scalebits/base/errors.h"
#include "scalebits/search/search.h"
#include "scalebits/search/units.h"
#include "tests/calibrate/quantized_case.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

class FixedWidthSearch : public ::testing::Test {
 protected:
  [[nodiscard]] SearchResult run(const QuantizedLayers& layers, const SearchOptions& options, int64_t budget) const {
    return search_plan(checkpoint_, config_, layers, group_quantizer("rtn"), calib_, budget, options, silent_log());
  }
  [[nodiscard]] QuantizedLayers layers_with(const std::vector<TypeRule>& rules) const {
    return find_quantized_layers(config_, kSmallBlocks, {}, rules);
  }

  const std::shared_ptr<const Checkpoint> checkpoint_ = std::make_shared<Checkpoint>(tiny_gqa());
  const ModelConfig config_ = read_hf_config(tiny_gqa());
  const CalibSet calib_ = split_calibration(random_sequences(8, 20, 1), "test");
};

TEST_F(FixedWidthSearch, NeverMovesThemAndKeepsTheBudget) {
  const QuantizedLayers layers = layers_with({{"down_proj", 6}, {"q_proj", 2}});
  for (const Method method :
       {Method::kSearch, Method::kUniform, Method::kMatrix, Method::kThreshold, Method::kRandom}) {
    for (const double bpw : {4.0, 5.4}) {
      SCOPED_TRACE(testing::Message() << "method " << static_cast<int>(method) << " at " << bpw);
      const int64_t budget = budget_from_bpw(layers, bpw);
      const SearchResult result = run(layers, {.method = method, .max_iterations = 6}, budget);
      EXPECT_LE(result.bytes, budget);
      EXPECT_GE(static_cast<double>(result.bytes), 0.9 * static_cast<double>(budget));
      bool others_moved = false;
      for (size_t i = 0; i < layers.items.size(); ++i) {
        for (const uint8_t bits : result.widths[i]) {
          const int fixed = layers.items[i].fixed_bits;
          others_moved |= fixed == 0 && bits != floor_bits(layers, budget);
          EXPECT_TRUE(fixed == 0 || bits == fixed) << layers.items[i].name;
        }
      }
      EXPECT_TRUE(others_moved);
    }
  }
}

TEST_F(FixedWidthSearch, ReachesBothEndsOfTheNarrowerInterval) {
  const QuantizedLayers layers = layers_with({{"down_proj", 6}});
  const ReachableBytes narrow = reachable_bytes(layers), wide = reachable_bytes(layers_with({}));
  EXPECT_GT(narrow.least, wide.least);
  EXPECT_LT(narrow.most, wide.most);
  for (const int64_t budget : {narrow.least, narrow.most}) EXPECT_EQ(run(layers, {}, budget).bytes, budget);
  EXPECT_THAT(error_text<InvalidArgument>([&] { (void)run(layers, {}, narrow.least - 1); }),
              testing::HasSubstr("2 matrices have a fixed width"));
}

TEST_F(FixedWidthSearch, HasNothingToDoWhereAllAreFixed) {
  const QuantizedLayers layers = layers_with({{"proj", 3}});
  const ReachableBytes reach = reachable_bytes(layers);
  EXPECT_EQ(reach.least, reach.most);
  for (const Method method : {Method::kSearch, Method::kMatrix, Method::kUniform}) {
    const SearchResult result = run(layers, {.method = method, .reorder = Reorder::kNone}, reach.most);
    EXPECT_EQ(result.bytes, reach.most);
    for (const auto& widths : result.widths) {
      for (const uint8_t bits : widths) EXPECT_EQ(bits, 3);
    }
  }
}

TEST_F(FixedWidthSearch, CountsBytesAndUnitsByHand) {
  // One block each of 16 x 32, groups of 32: at b bits 64 b codes, 16 scales, 16 (b + 1) / 8 zeros (8 bits at 8), 1
  // map.
  QuantizedLayers layers;
  for (const int fixed : {0, 3}) {
    layers.items.push_back({fmt::format("m{}", fixed), 0, Proj::kQ, BlockGrid(16, 32, {16, 32, 32}), fixed});
  }
  const int64_t at1 = 64 + 16 + 4 + 1, at3 = 192 + 16 + 8 + 1, at4 = 256 + 16 + 10 + 1, at8 = 512 + 16 + 16 + 1;
  EXPECT_EQ(reachable_bytes(layers).least, at1 + at3);
  EXPECT_EQ(reachable_bytes(layers).most, at8 + at3);
  EXPECT_EQ(floor_bits(layers, at4 + at3), 4);
  EXPECT_EQ(two_level_widths(layers, at4 + at3, {}), (Widths{{4}, {3}}));
  EXPECT_EQ(two_level_widths(layers, at4 + at3 + 1000, {}), (Widths{{8}, {3}}));
  EXPECT_EQ(Units(layers, Unit::kBlock).count(), 1);
  EXPECT_EQ(Units(layers, Unit::kMatrix).count(), 1);
}

}  // namespace
}  // namespace scalebits::test
