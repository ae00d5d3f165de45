// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/text_forest.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "scalebits/base/rng.h"

namespace scalebits {
namespace {

using testing::ElementsAre;
using Ids = std::vector<TokenId>;

std::vector<std::span<const TokenId>> spans(const std::vector<Ids>& sequences) {
  return {sequences.begin(), sequences.end()};
}

/// A sequence put together again from its runs.
Ids from_path(const TextForest& forest, const std::vector<int64_t>& path) {
  Ids ids;
  int64_t before = -1;
  for (const int64_t index : path) {
    const ForestRun& run = forest.runs[static_cast<size_t>(index)];
    EXPECT_EQ(run.parent, before);
    EXPECT_EQ(run.position, static_cast<int64_t>(ids.size()));
    ids.insert(ids.end(), run.ids.begin(), run.ids.end());
    before = index;
  }
  return ids;
}

TEST(TextForest, SharesWhatIsLongEnough) {
  //                                   examples     question   answers
  const std::vector<Ids> sequences = {{1, 2, 3, 4, 10, 11, 12, 20}, {1, 2, 3, 4, 10, 11, 12, 21}, {1, 2, 3, 4, 30}};
  const TextForest forest = share_beginnings(spans(sequences), 3);
  ASSERT_EQ(forest.runs.size(), 5U);
  EXPECT_EQ(forest.tokens(), 4 + 3 + 1 + 1 + 1);
  EXPECT_EQ(forest.levels(), 3);
  EXPECT_THAT(forest.paths, ElementsAre(ElementsAre(0, 1, 2), ElementsAre(0, 1, 3), ElementsAre(0, 4)));
  EXPECT_TRUE(forest.runs[1].continued);
  EXPECT_FALSE(forest.runs[4].continued);
  const TextForest apart = share_beginnings(spans(sequences), 5);  // 4 tokens are too few, 7 are enough
  EXPECT_EQ(apart.tokens(), 7 + 1 + 1 + 5);
}

TEST(TextForest, EqualSequencesAndBeginningsOfOthersAreHeldOnce) {
  const std::vector<Ids> sequences = {{5, 6, 7, 8}, {5, 6, 7, 8}, {5, 6, 7, 8, 9}};
  const TextForest forest = share_beginnings(spans(sequences), 4);
  EXPECT_EQ(forest.tokens(), 5);
  EXPECT_THAT(forest.paths, ElementsAre(ElementsAre(0), ElementsAre(0), ElementsAre(0, 1)));
}

TEST(TextForest, EverySequenceIsItsPath) {
  Rng rng(3);
  std::vector<Ids> sequences(200);
  for (Ids& ids : sequences) {
    for (uint64_t n = 1 + rng.below(12); n > 0; --n) ids.push_back(static_cast<TokenId>(rng.below(2)));
  }
  std::sort(sequences.begin(), sequences.end());
  for (const int64_t shortest : {1, 2, 4, 100}) {
    const TextForest forest = share_beginnings(spans(sequences), shortest);
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_EQ(from_path(forest, forest.paths[i]), sequences[i]) << shortest << ": " << i;
    }
  }
}

TEST(TextForest, GroupsAreBalancedAndHoldEveryRunOnce) {
  const Ids ids(1000);
  std::vector<ForestRun> runs;
  for (const size_t n : {100, 3, 40, 40, 30, 60, 500, 7}) runs.push_back({.ids = std::span(ids).first(n)});
  const std::vector<int64_t> chosen = {0, 1, 2, 3, 4, 5, 7};
  const auto groups = balanced_groups(runs, chosen, 100);
  ASSERT_EQ(groups.size(), 3U);  // 280 tokens
  std::vector<int64_t> all, loads;
  for (const auto& group : groups) {
    EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
    loads.push_back(0);
    for (const int64_t run : group) loads.back() += static_cast<int64_t>(runs[static_cast<size_t>(run)].ids.size());
    all.insert(all.end(), group.begin(), group.end());
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, chosen);
  EXPECT_LE(*std::max_element(loads.begin(), loads.end()), 100);
}

}  // namespace
}  // namespace scalebits
