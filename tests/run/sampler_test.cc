// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/sampler.h"

#include <cmath>
#include <limits>

#include "scalebits/base/errors.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();

/// Everything off: draws from the softmax itself.
SamplerOptions plain() {
  return {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1, .seed = 0};
}

/// Logits with these probabilities.
std::vector<float> logits_of(const std::vector<double>& p) {
  std::vector<float> logits;
  for (const double x : p) logits.push_back(static_cast<float>(std::log(x)));
  return logits;
}

std::vector<TokenId> ids_left(const SamplerOptions& options, const std::vector<float>& logits,
                              const std::vector<TokenId>& context = {}) {
  std::vector<TokenId> ids;
  Sampler sampler(options);
  for (const Candidate& c : sampler.candidates(logits, context)) ids.push_back(c.id);
  return ids;
}

TEST(Sampler, GreedyTakesTheLargestAndOfEqualsTheLowestId) {
  SamplerOptions greedy = plain();
  greedy.temperature = 0;
  Sampler sampler(greedy);
  EXPECT_EQ(sampler.sample(std::vector<float>{0.5F, 2, -1, 2}, {}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-3, -3, -3}, {}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{-kInf, -7, -kInf}, {}), 1);
}

TEST(Sampler, PlainCandidatesAreTheSortedSoftmax) {
  Sampler sampler(plain());
  const auto list = sampler.candidates(logits_of({0.2, 0.5, 0.3}), {});
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0].id, 1);
  EXPECT_NEAR(list[0].probability, 0.5, 1e-6);  // the logits were rounded to floats
  EXPECT_EQ(list[1].id, 2);
  EXPECT_NEAR(list[1].probability, 0.3, 1e-6);
  EXPECT_NEAR(list[2].probability, 0.2, 1e-6);
}

TEST(Sampler, TopKKeepsTheMostProbableAndBreaksTiesById) {
  SamplerOptions o = plain();
  o.top_k = 2;
  EXPECT_THAT(ids_left(o, {1, 3, 3, 3}), ElementsAre(1, 2));
  o.top_k = 100;
  EXPECT_THAT(ids_left(o, {1, 3, 2}), ElementsAre(1, 2, 0));
  o.top_k = 1;
  EXPECT_NEAR(Sampler(o).candidates(std::vector<float>{1, 3, 2}, {})[0].probability, 1.0, 0);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  SamplerOptions o = plain();
  const auto logits = logits_of({0.5, 0.25, 0.125, 0.125});
  for (const auto& [top_p, expected] : std::vector<std::pair<double, size_t>>{
           {1e-9, 1}, {0.49, 1}, {0.51, 2}, {0.74, 2}, {0.76, 3}, {0.874, 3}, {0.876, 4}, {1, 4}}) {
    o.top_p = top_p;
    EXPECT_EQ(ids_left(o, logits).size(), expected) << top_p;
  }
}

TEST(Sampler, MinPIsRelativeToTheMostProbable) {
  SamplerOptions o = plain();
  const auto logits = logits_of({0.5, 0.25, 0.15, 0.1});
  for (const auto& [min_p, expected] :
       std::vector<std::pair<double, size_t>>{{0.19, 4}, {0.21, 3}, {0.31, 2}, {0.51, 1}, {1, 1}}) {
    o.min_p = min_p;
    EXPECT_EQ(ids_left(o, logits).size(), expected) << min_p;
  }
}

TEST(Sampler, FiltersSeeWhatTheOneBeforeLeft) {
  // top-k 2 leaves 0.5 and 0.25, renormalized 2/3 and 1/3: top-p 0.6 then keeps one, where 0.5 alone would not do.
  SamplerOptions o = plain();
  o.top_k = 2;
  o.top_p = 0.6;
  EXPECT_THAT(ids_left(o, logits_of({0.5, 0.25, 0.15, 0.1})), ElementsAre(0));
}

TEST(Sampler, TemperatureComesAfterTheFilters) {
  SamplerOptions o = plain();
  o.top_p = 0.7;
  o.temperature = 2;
  Sampler sampler(o);
  const auto list = sampler.candidates(logits_of({0.64, 0.16, 0.1, 0.1}), {});
  ASSERT_EQ(list.size(), 2U);                         // at temperature 2 alone, four tokens would be needed for 0.7
  EXPECT_NEAR(list[0].probability, 2.0 / 3.0, 1e-6);  // sqrt(0.64) : sqrt(0.16) = 2 : 1
  EXPECT_NEAR(list[1].probability, 1.0 / 3.0, 1e-6);
}

TEST(Sampler, PenaltyLowersTokensOfTheContextWhateverTheSign) {
  SamplerOptions o = plain();
  o.temperature = 0;
  o.repeat_penalty = 2;
  Sampler sampler(o);
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 2}, {}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{3, 2}, std::vector<TokenId>{0, 0}), 1);    // 3 -> 1.5, once
  EXPECT_EQ(sampler.sample(std::vector<float>{-1, -1.5F}, std::vector<TokenId>{0}), 1);  // -1 -> -2
  EXPECT_EQ(sampler.sample(std::vector<float>{-1, -2.5F}, std::vector<TokenId>{0}), 0);
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  const std::vector<double> p = {0.4, 0.3, 0.2, 0.09, 0.01};
  Sampler sampler(plain());
  constexpr int kDraws = 100000;
  std::vector<int> counts(p.size());
  for (int i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(sampler.sample(logits_of(p), {}))];
  for (size_t i = 0; i < p.size(); ++i) {
    // Five standard deviations of a binomial count; the seed is fixed, so this cannot fail by chance later.
    EXPECT_NEAR(counts[i], kDraws * p[i], 5 * std::sqrt(kDraws * p[i] * (1 - p[i]))) << i;
  }
}

TEST(Sampler, SameSeedSameDraws) {
  const std::vector<float> logits(50, 1.0F);
  const auto draws = [&](uint64_t seed) {
    SamplerOptions o = plain();
    o.seed = seed;
    Sampler sampler(o);
    std::vector<TokenId> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(sampler.sample(logits, {}));
    return ids;
  };
  EXPECT_EQ(draws(7), draws(7));
  EXPECT_NE(draws(7), draws(8));
}

TEST(Sampler, ExcludedTokensAreNeverDrawn) {
  Sampler sampler(plain());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(sampler.sample(std::vector<float>{-kInf, 0, -kInf}, {}), 1);
  EXPECT_THAT(error_text<Error>([&] {
                sampler.sample(std::vector<float>{-kInf, -kInf}, {});
              }),
              HasSubstr("got 2 excluded tokens"));
}

TEST(Sampler, NumbersThatAreNoneAreRefusedByIndex) {
  Sampler sampler(plain());
  EXPECT_THAT(error_text<Error>([&] {
                sampler.sample(std::vector<float>{0, std::nanf("")}, {});
              }),
              HasSubstr("logit of token 1: got nan"));
  EXPECT_THAT(error_text<Error>([&] {
                sampler.sample(std::vector<float>{kInf, 0}, {});
              }),
              HasSubstr("logit of token 0: got inf"));
}

TEST(Sampler, OptionsOutsideTheirRangeAreRefusedByName) {
  const auto text = [](auto change) {
    SamplerOptions o;
    change(o);
    return error_text<InvalidArgument>([&] { Sampler sampler(o); });
  };
  EXPECT_THAT(text([](auto& o) { o.temperature = -0.1; }), HasSubstr("[--temperature] got -0.1, expected 0 or more"));
  EXPECT_THAT(text([](auto& o) { o.temperature = std::nan(""); }), HasSubstr("[--temperature]"));
  EXPECT_THAT(text([](auto& o) { o.top_k = -1; }), HasSubstr("[--top-k] got -1"));
  EXPECT_THAT(text([](auto& o) { o.top_p = 0; }), HasSubstr("[--top-p] got 0, expected a share in (0, 1]"));
  EXPECT_THAT(text([](auto& o) { o.top_p = 1.01; }), HasSubstr("[--top-p]"));
  EXPECT_THAT(text([](auto& o) { o.min_p = 1.5; }), HasSubstr("[--min-p]"));
  EXPECT_THAT(text([](auto& o) { o.repeat_penalty = 0; }), HasSubstr("[--repeat-penalty]"));
}

}  // namespace
}  // namespace scalebits
