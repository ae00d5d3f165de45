// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "scalebits/quantize/fit.h"
#include "tests/quantize/groups.h"

namespace scalebits {
namespace {

using test::gaussian;
using test::slack_steps;
using test::squared_error;

const GroupQuantizer& rtn() { return group_quantizer("rtn"); }
const GroupQuantizer& clip() { return group_quantizer("clip"); }

std::vector<float> random_importance(size_t n, Rng& rng) {
  std::vector<float> out(n);
  for (auto& k : out) k = static_cast<float>(std::exp2(-12 * rng.uniform()) * 1e-9);
  return out;
}

/// rtn's parameters are among the candidates, so clip can lose only by the rounding of the errors it compares: an error
/// e is off by slack_steps in steps of its scale, its square by 2 |e| slack + slack^2 with |e| <= 1/2 for rtn above 1
/// bit; the f32 sums of squares add a relative (n / 16 + 8) * 2^-24.
TEST(Clip, NeverLosesToRtn) {
  Rng rng(1);
  for (int bits = 2; bits <= 8; ++bits) {
    for (int i = 0; i < 1000; ++i) {
      std::vector<float> w = gaussian(1 + rng.below(300), rng);
      const auto shift = static_cast<float>(i % 3 - 1);
      const auto size = static_cast<float>(std::exp2(20 * rng.uniform() - 15));
      for (auto& v : w) v = (i % 2 == 0 ? v : v * v * v) * size + shift * size;
      const bool weighted = i % 4 == 3;
      const std::vector<float> importance = weighted ? random_importance(w.size(), rng) : std::vector<float>();
      const GroupParams mine = clip().fit(w, importance, bits);
      const GroupParams theirs = rtn().fit(w, importance, bits);
      const double step = std::max(scale_value(mine.scale), scale_value(theirs.scale));
      double total = 0;
      for (size_t j = 0; j < w.size(); ++j) total += weighted ? importance[j] : 1.0;
      const double slack = slack_steps(bits);
      const double allowed = total * step * step * (slack + slack * slack);
      const double limit = squared_error(w, importance, theirs, bits);
      const double sums = 2 * (static_cast<double>(w.size()) / 16 + 8) * 0x1p-24;
      ASSERT_LE(squared_error(w, importance, mine, bits), limit * (1 + sums) + 2 * allowed) << bits << " group " << i;
    }
  }
}

/// Mean squared error of the best uniform quantizer of N(0, 1) with 2^bits codes (J. Max 1960, table II, to 36 levels;
/// above, and checked against it, the minimum over the step of the same integral).
constexpr std::array<double, 6> kBestUniform = {0, 0.3634, 0.1188, 0.03744, 0.01154, 0.003495};

/// On large groups the error comes to the theory's. 64 groups of 2048: the mean of 131072 squared errors, each with a
/// standard deviation below 2 times its mean, is within 1.7 % by three deviations. Below that the fit to each group's
/// own samples (two parameters chosen among some thirty pairs) adds a gain of the order of those deviations.
TEST(Clip, ReachesTheBestUniformQuantizerOfAGaussian) {
  for (int bits = 1; bits <= 4; ++bits) {
    Rng rng(static_cast<uint64_t>(bits));
    double mean = 0;
    for (int i = 0; i < 64; ++i) {
      const std::vector<float> w = gaussian(2048, rng);
      mean += squared_error(w, {}, clip().fit(w, {}, bits), bits) / (64 * 2048);
    }
    EXPECT_LE(mean, 1.017 * kBestUniform[static_cast<size_t>(bits)]) << bits;
    EXPECT_GE(mean, 0.95 * kBestUniform[static_cast<size_t>(bits)]) << bits;
  }
}

/// Groups of 128 adapt to their own range and do better than the best fixed quantizer, and much better than min-max at
/// low widths (2.2 times at 2 bits).
TEST(Clip, GroupsOf128BeatTheFixedQuantizerAndMinMax) {
  for (int bits = 1; bits <= 5; ++bits) {
    Rng rng(static_cast<uint64_t>(bits));
    double mine = 0;
    double theirs = 0;
    for (int i = 0; i < 500; ++i) {
      const std::vector<float> w = gaussian(128, rng);
      mine += squared_error(w, {}, clip().fit(w, {}, bits), bits) / (500 * 128);
      theirs += squared_error(w, {}, rtn().fit(w, {}, bits), bits) / (500 * 128);
    }
    EXPECT_LT(mine, kBestUniform[static_cast<size_t>(bits)]) << bits;
    if (bits == 2) {
      EXPECT_LT(mine, theirs / 2);
    }
    if (bits == 3) {
      EXPECT_LT(mine, theirs / 1.3);
    }
  }
}

/// Exhaustive: every zero field and every scale. Slow, so few and small groups.
TEST(Clip, IsCloseToAnExhaustiveSearch) {
  for (int bits = 1; bits <= 4; ++bits) {
    Rng rng(static_cast<uint64_t>(bits));
    double mine = 0;
    double best = 0;
    for (int i = 0; i < 6; ++i) {
      const std::vector<float> w = gaussian(128, rng);
      mine += squared_error(w, {}, clip().fit(w, {}, bits), bits);
      double least = 1e30;
      for (int scale = kLeastScale; scale <= kGreatestScale; ++scale) {
        for (int zero = 0; zero < (1 << zero_bits(bits)); ++zero) {
          least =
              std::min(least, squared_error(w, {}, {static_cast<uint8_t>(scale), static_cast<uint8_t>(zero)}, bits));
        }
      }
      best += least;
    }
    EXPECT_LE(mine, best * 1.003) << bits;
  }
}

/// The best quantizer of a symmetric distribution has its zero between the two middle codes: 1.5 at 2 bits, field 3.
TEST(Clip, GaussianGroupsAtTwoBitsUseTheHalfStepZero) {
  Rng rng(5);
  int half = 0;
  for (int i = 0; i < 100; ++i) half += clip().fit(gaussian(4096, rng), {}, 2).zero == 3 ? 1 : 0;
  EXPECT_GE(half, 95);
}

/// Squares of such weights overflow f32, and none of them can be represented anyway.
TEST(Clip, WeightsBeyondTheSearchAreRtns) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const std::vector<float>& w : {std::vector<float>{1e20F, 3}, std::vector<float>{-1e20F, 3}}) {
      EXPECT_EQ(clip().fit(w, {}, bits), rtn().fit(w, {}, bits));
      EXPECT_NE(clip().fit(w, {}, bits).scale, 0);
    }
  }
}

TEST(Clip, ExactGridsAreFoundExactly) {
  Rng rng(6);
  for (int bits = 2; bits <= 8; ++bits) {
    std::vector<float> w(128);
    const auto zero = static_cast<float>(1 << (bits - 1));
    for (auto& v : w) v = 0.25F * (static_cast<float>(rng.below(1U << bits)) - zero);
    w[0] = 0.25F * -zero;
    w[1] = 0.25F * (static_cast<float>((1 << bits) - 1) - zero);
    EXPECT_EQ(squared_error(w, {}, clip().fit(w, {}, bits), bits), 0) << bits;
  }
}

/// Importance moves error from the weights that matter to those that do not. Summed over groups: one group may be
/// lucky.
TEST(Clip, ImportanceLowersTheWeightedError) {
  for (int bits = 1; bits <= 8; ++bits) {
    Rng rng(static_cast<uint64_t>(bits));
    double with = 0;
    double without = 0;
    for (int i = 0; i < 200; ++i) {
      const std::vector<float> w = gaussian(128, rng);
      const std::vector<float> importance = random_importance(128, rng);
      with += squared_error(w, importance, clip().fit(w, importance, bits), bits);
      without += squared_error(w, importance, clip().fit(w, {}, bits), bits);
    }
    EXPECT_LT(with, 0.97 * without) << bits;
  }
}

TEST(Clip, AllOnesImportanceIsNoImportance) {
  Rng rng(7);
  for (int bits = 1; bits <= 8; ++bits) {
    const std::vector<float> w = gaussian(100, rng);
    EXPECT_EQ(clip().fit(w, std::vector<float>(100, 1.0F), bits), clip().fit(w, {}, bits));
    // A power of two changes nothing: importance is relative.
    EXPECT_EQ(clip().fit(w, std::vector<float>(100, 0x1p-90F), bits), clip().fit(w, {}, bits));
    EXPECT_EQ(clip().fit(w, std::vector<float>(100, 0.0F), bits), clip().fit(w, {}, bits));
  }
}

/// A plan must give the same bytes wherever the importance is the same.
TEST(Clip, EveryInstructionSetGivesTheSameBits) {
  const std::span<const ClipSums> tables = all_clip_sums();
  const ClipSums& portable = tables.back();
  for (const ClipSums& table : tables) {
    if (!table.available()) continue;
    Rng rng(8);
    for (size_t n = 1; n <= 140; ++n) {
      const std::vector<float> w = gaussian(n, rng);
      for (const std::vector<float>& importance : {std::vector<float>(), random_importance(n, rng)}) {
        const GroupView group = {w.data(), importance.empty() ? nullptr : importance.data(), static_cast<int64_t>(n),
                                 1e9F};
        const Steps steps = {.inverse = 2.7F, .zeros = {3.5F, 3.0F, 4.0F}, .top = 7};
        std::array<float, 3> errors{}, expected_errors{};
        table.errors(group, steps, errors.data());
        portable.errors(group, steps, expected_errors.data());
        ASSERT_EQ(std::memcmp(&errors, &expected_errors, sizeof(errors)), 0) << table.name << " " << n;
        for (int bits = 1; bits <= 8; ++bits) {
          ASSERT_EQ(fit_clip(w, importance, bits, table), fit_clip(w, importance, bits, portable)) << table.name;
        }
      }
    }
  }
}

/// The sums against their definition in double. Bound: each term rounds at most 8 times beside the slack of t.
TEST(Clip, SumsMatchTheirDefinition) {
  Rng rng(9);
  for (const ClipSums& table : all_clip_sums()) {
    if (!table.available()) continue;
    for (const size_t n : {1U, 15U, 16U, 17U, 128U, 131U}) {
      const std::vector<float> w = gaussian(n, rng);
      const std::vector<float> k = random_importance(n, rng);
      const GroupView group = {w.data(), k.data(), static_cast<int64_t>(n), 1e9F};
      const Steps steps = {.inverse = 2.5F, .zeros = {3.5F, 3.0F, 4.0F}, .top = 7};
      std::array<float, 3> errors{};
      table.errors(group, steps, errors.data());
      for (size_t z = 0; z < 3; ++z) {
        double ee = 0, size = 0;
        for (size_t i = 0; i < n; ++i) {
          const double t = 2.5 * w[i] + steps.zeros[z];
          const double code = std::clamp(std::nearbyint(t), 0.0, 7.0);
          const double weight = k[i] * 1e9, ei = t - code;
          ee += weight * ei * ei;
          size += weight * (1 + ei * ei);
        }
        const double limit = size * (static_cast<double>(n) + 100) * 0x1p-24;
        EXPECT_NEAR(errors[z], ee, limit) << table.name << " " << n;
      }
      float low = 1, high = -1;
      table.range(w.data(), static_cast<int64_t>(n), &low, &high);
      EXPECT_EQ(low, std::min(0.0F, *std::min_element(w.begin(), w.end())));
      EXPECT_EQ(high, std::max(0.0F, *std::max_element(w.begin(), w.end())));
    }
  }
}

}  // namespace
}  // namespace scalebits
