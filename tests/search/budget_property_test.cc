// SPDX-License-Identifier: Apache-2.0
// The promise of the budget over random layers, block shapes, fixed widths and budgets, by every method
// (docs/search.md, "Budget"): never exceeded, and used but for what no move fits in.
#include <gtest/gtest.h>

#include <algorithm>

#include "scalebits/base/rng.h"
#include "scalebits/search/select.h"
#include "scalebits/search/units.h"
#include "tests/calibrate/quantized_case.h"

namespace scalebits::test {
namespace {

int64_t between(Rng& rng, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(rng.below(static_cast<uint64_t>(high - low + 1)));
}

/// Blocks of 16 to 64 rows and 4 to 192 columns.
BlockSpec random_spec(Rng& rng) {
  const auto group = static_cast<int>(4 * between(rng, 1, 16));
  return {static_cast<int>(16 * between(rng, 1, 4)), group * static_cast<int>(between(rng, 1, 3)), group};
}

/// One to five matrices with sides of 1 to 300, one in four of fixed width, at least one of them free.
QuantizedLayers random_layers(Rng& rng) {
  const BlockSpec spec = random_spec(rng);
  QuantizedLayers layers;
  for (int64_t i = between(rng, 1, 5); i > 0; --i) {
    const int fixed = i > 1 && rng.below(4) == 0 ? static_cast<int>(between(rng, 1, 8)) : 0;
    layers.items.push_back({fmt::format("layer{}", layers.items.size()), 0, Proj::kQ,
                            BlockGrid(between(rng, 1, 300), between(rng, 1, 300), spec), fixed});
  }
  return layers;
}

int64_t random_budget(Rng& rng, const QuantizedLayers& layers) {
  const ReachableBytes reach = reachable_bytes(layers);
  return between(rng, reach.least, reach.most);
}

/// One more bit for a unit that may still grow.
struct Step {
  int64_t bytes = 0;
  int bits = 0;  ///< before it
};
std::vector<Step> steps_at(const QuantizedLayers& layers, const Widths& widths, Unit unit) {
  std::vector<Step> steps;
  for (size_t i = 0; i < layers.items.size(); ++i) {
    const auto& item = layers.items[i];
    Step whole;
    for (size_t b = 0; b < widths[i].size(); ++b) {
      if (item.fixed_bits != 0 || widths[i][b] == kMaxBits) continue;
      const auto block = static_cast<int64_t>(b);
      const Step step{item.grid.block_bytes(block, widths[i][b] + 1) - item.grid.block_bytes(block, widths[i][b]),
                      widths[i][b]};
      if (unit == Unit::kBlock) steps.push_back(step);
      whole = {whole.bytes + step.bytes, step.bits};
    }
    if (unit == Unit::kMatrix && whole.bytes > 0) steps.push_back(whole);
  }
  return steps;
}

int64_t largest_step(const QuantizedLayers& layers, Unit unit) {
  int64_t largest = 0;
  for (int bits = kMinBits; bits < kMaxBits; ++bits) {
    for (const Step& step : steps_at(layers, uniform_widths(layers, bits), unit)) {
      largest = std::max(largest, step.bytes);
    }
  }
  return largest;
}

/// What every method promises: within the budget, widths in 1..8, fixed ones in place; and when the largest step of a
/// unit is at most 0.5 % of the budget, at least 99.5 % of it used.
/// @return whether the second half was put to the test
bool expect_promise(const QuantizedLayers& layers, const Widths& widths, int64_t budget, Unit unit) {
  const int64_t left = budget - widths_bytes(layers, widths);
  EXPECT_GE(left, 0);
  for (size_t i = 0; i < widths.size(); ++i) {
    for (const uint8_t bits : widths[i]) {
      EXPECT_TRUE(bits >= kMinBits && bits <= kMaxBits);
      EXPECT_TRUE(layers.items[i].fixed_bits == 0 || bits == layers.items[i].fixed_bits);
    }
  }
  if (200 * largest_step(layers, unit) > budget) return false;
  EXPECT_LE(200 * left, budget);
  return true;
}

/// Two neighbouring widths: no block that is still at the lower one fits, so less than the smallest of their steps is
/// left. (A block at the upper one is not widened again, even where its step is small.)
TEST(BudgetProperty, TwoLevelWidthsLeaveLessThanTheSmallestStepFromTheLowerWidth) {
  Rng rng(1);
  int fine = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    SCOPED_TRACE(trial);
    const QuantizedLayers layers = random_layers(rng);
    const int64_t budget = random_budget(rng, layers);
    std::vector<BlockRef> order = all_blocks(layers);
    for (size_t i = 0; i + 1 < order.size(); ++i) std::swap(order[i], order[i + rng.below(order.size() - i)]);
    if (rng.below(2) == 0) order.clear();  // model order
    const Widths widths = two_level_widths(layers, budget, order);
    fine += expect_promise(layers, widths, budget, Unit::kBlock) ? 1 : 0;
    const int64_t left = budget - widths_bytes(layers, widths);
    const int lower = floor_bits(layers, budget);
    for (const Step& step : steps_at(layers, widths, Unit::kBlock)) {
      if (step.bits == lower) {
        EXPECT_GT(step.bytes, left);
      }
    }
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_GT(fine, 100);
}

TEST(BudgetProperty, BothEndsOfTheReachableIntervalAreExact) {
  Rng rng(2);
  for (int trial = 0; trial < 500; ++trial) {
    const QuantizedLayers layers = random_layers(rng);
    const ReachableBytes reach = reachable_bytes(layers);
    for (const int64_t budget : {reach.least, reach.most}) {
      EXPECT_EQ(widths_bytes(layers, two_level_widths(layers, budget, {})), budget) << trial;
    }
  }
}

/// Scores of either sign in all terms, so that moves go both ways.
PassResult random_scores(Rng& rng, const QuantizedLayers& layers) {
  PassResult scores;
  const auto draw = [&] { return rng.uniform() - 0.5; };
  for (const auto& item : layers.items) {
    LinearSensitivity& linear = scores.linears.emplace_back();
    for (int64_t b = 0; b < item.grid.n_blocks(); ++b) {
      linear.blocks.push_back({draw(), draw(), draw(), draw(), draw(), draw(), draw(), draw(), draw()});
    }
  }
  return scores;
}

TEST(BudgetProperty, NoSequenceOfMovesExceedsIt) {
  Rng rng(3);
  int64_t ups = 0, downs = 0;
  for (int trial = 0; trial < 400; ++trial) {
    SCOPED_TRACE(trial);
    const QuantizedLayers layers = random_layers(rng);
    const int64_t budget = random_budget(rng, layers);
    for (const Unit unit : {Unit::kBlock, Unit::kMatrix}) {
      const Units units(layers, unit);
      Widths widths = uniform_widths(layers, floor_bits(layers, budget));
      for (int batch = 0; batch < 12; ++batch) {
        const auto score = static_cast<Score>(rng.below(3));
        const Moves moves =
            select_moves(units.moves(random_scores(rng, layers), widths, score), budget - widths_bytes(layers, widths),
                         between(rng, 1, units.count()), rng.below(4) != 0);
        widths = units.moved(widths, moves);
        ups += static_cast<int64_t>(moves.up.size());
        downs += static_cast<int64_t>(moves.down.size());
        ASSERT_LE(widths_bytes(layers, widths), budget);
        for (size_t i = 0; i < widths.size(); ++i) {
          for (const uint8_t b : widths[i]) {
            ASSERT_TRUE(b >= kMinBits && b <= kMaxBits);
            ASSERT_TRUE(layers.items[i].fixed_bits == 0 || b == layers.items[i].fixed_bits);
          }
        }
      }
    }
  }
  EXPECT_GT(ups, 10000);
  EXPECT_GT(downs, 3000);
}

/// Whole searches on a tiny model with random blocks, fixed widths and budgets.
class WholeSearch : public ::testing::TestWithParam<Method> {};

TEST_P(WholeSearch, KeepsTheBudgetAndUsesIt) {
  const Method method = GetParam();
  const Unit unit = method == Method::kMatrix ? Unit::kMatrix : Unit::kBlock;
  const auto checkpoint = std::make_shared<Checkpoint>(tiny_gqa());
  const ModelConfig config = read_hf_config(tiny_gqa());
  const CalibSet calib = split_calibration(random_sequences(4, 8, 1), "test");
  const char* const kinds[] = {"down_proj", "q_proj", "0.mlp", "1.self_attn"};
  Rng rng(4);
  int fine = 0, no_room = 0;
  for (int trial = 0; trial < 40; ++trial) {
    std::vector<TypeRule> rules;
    if (rng.below(2) == 0) rules.push_back({kinds[rng.below(4)], static_cast<int>(between(rng, 1, 8))});
    const QuantizedLayers layers = find_quantized_layers(config, random_spec(rng), {}, rules);
    const int64_t budget = random_budget(rng, layers);
    const SearchOptions options{.method = method,
                                .reorder = rng.below(2) == 0 ? Reorder::kNone : Reorder::kBoth,
                                .max_iterations = between(rng, 0, 3),
                                .seed = rng.next(),
                                .guard = rng.below(2) == 0};
    SCOPED_TRACE(testing::Message() << "trial " << trial << ", budget " << budget);
    const SearchResult result =
        search_plan(checkpoint, config, layers, group_quantizer("rtn"), calib, budget, options, silent_log());
    fine += expect_promise(layers, result.widths, budget, unit) ? 1 : 0;
    EXPECT_EQ(result.bytes, widths_bytes(layers, result.widths));
    // A search, exactly: 0.5 % are left at most, or no unit that could still grow fits.
    const bool two_level = result.guard && result.guard->written == 1;
    if ((method != Method::kSearch && method != Method::kMatrix) || two_level) continue;
    const int64_t left = budget - result.bytes;
    if (200 * left <= budget) continue;
    ++no_room;
    for (const Step& step : steps_at(layers, result.widths, unit)) EXPECT_GT(step.bytes, left);
  }
  if (unit == Unit::kBlock) {
    EXPECT_GT(fine, 10);
  }
  if (method == Method::kMatrix) {
    EXPECT_GT(no_room, 10);
  }
}

std::string method_name(const testing::TestParamInfo<Method>& method) {
  const std::vector<std::string> names = {"Search", "Uniform", "Matrix", "Threshold", "Random"};
  return names[static_cast<size_t>(method.param)];
}

INSTANTIATE_TEST_SUITE_P(BudgetProperty, WholeSearch,
                         testing::Values(Method::kSearch, Method::kUniform, Method::kMatrix, Method::kThreshold,
                                         Method::kRandom),
                         method_name);

}  // namespace
}  // namespace scalebits::test
