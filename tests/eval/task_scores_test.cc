// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/task_scores.h"

#include <gtest/gtest.h>

#include <cmath>

namespace scalebits {
namespace {

TaskItem choices(std::vector<std::string> texts, int64_t gold) {
  TaskItem item;
  item.choices = std::move(texts);
  item.gold = gold;
  return item;
}

TEST(TaskScores, TheMostProbableChoiceAndTheMostProbablePerCharacter) {
  const ItemScore s = score_choices(choices({"ab", "abcdefgh", "\u00e9\u00e9\u00e9"}, 0), TaskKind::kChoices,
                                    {{-4.0, false}, {-8.0, false}, {-3.3, true}});
  EXPECT_EQ(s.pick, 2);
  EXPECT_EQ(s.pick_norm, 1);  // -2, -1, -1.1: characters, not bytes
  EXPECT_FALSE(s.right);
  const ItemScore tie = score_choices(choices({"ab", "cd"}, 0), TaskKind::kContexts, {{-4.0, false}, {-4.0, false}});
  EXPECT_EQ(tie.pick, 0);
  EXPECT_TRUE(tie.right);
}

TEST(TaskScores, ALastWordIsRightIfGreedyDecodingGivesIt) {
  EXPECT_TRUE(score_choices({}, TaskKind::kLastWord, {{-1.0, true}}).right);
  EXPECT_FALSE(score_choices({}, TaskKind::kLastWord, {{-0.1, false}}).right);
}

TEST(TaskScores, MeansAndStandardErrors) {
  TaskSpec spec;
  spec.norm = true;
  std::vector<ItemScore> items(4);
  items[0].right = items[1].right = items[2].right = true;
  items[3].right_norm = true;
  const auto metrics = task_metrics(spec, items);
  ASSERT_EQ(metrics.size(), 2U);
  EXPECT_EQ(metrics[0].name, "acc");
  EXPECT_DOUBLE_EQ(metrics[0].value, 0.75);
  EXPECT_DOUBLE_EQ(*metrics[0].standard_error, 0.25);  // squares 3/16 + 9/16 = 3/4; / 3 = 1/4; root 1/2; / root 4
  EXPECT_EQ(metrics[1].name, "acc_norm");
  EXPECT_DOUBLE_EQ(metrics[1].value, 0.25);
  EXPECT_FALSE(task_metrics(spec, std::span(items).first(1))[0].standard_error.has_value());
}

TEST(TaskScores, PerplexityOfLastWords) {
  TaskSpec spec;
  spec.kind = TaskKind::kLastWord;
  std::vector<ItemScore> items(2);
  items[0].likelihoods = {{-1.0, true}};
  items[1].likelihoods = {{-3.0, false}};
  items[0].right = true;
  const auto metrics = task_metrics(spec, items);
  EXPECT_EQ(metrics[1].name, "perplexity");
  EXPECT_DOUBLE_EQ(metrics[1].value, std::exp(2.0));
  EXPECT_DOUBLE_EQ(*metrics[1].standard_error, std::exp(2.0));  // deviation root 2, over root 2 items
}

TEST(TaskScores, GeneratedAnswersHaveTwoMetrics) {
  TaskItem item;
  item.target = "2 * 9 = 18\n#### 18";
  const ItemScore s = score_answer(item, "It is 18.\n#### 1,8\nSo $18");
  EXPECT_EQ(s.strict, "1,8");
  EXPECT_EQ(s.flexible, "$18");
  EXPECT_TRUE(s.right_strict);
  EXPECT_TRUE(s.right_flexible);
  TaskSpec spec;
  spec.kind = TaskKind::kGenerate;
  const auto metrics = task_metrics(spec, std::span(&s, 1));
  EXPECT_EQ(metrics[0].name, "exact_match,strict-match");
  EXPECT_EQ(metrics[1].name, "exact_match,flexible-extract");
}

TEST(TaskScores, GroupsByItemsAndByTasks) {
  const std::vector<SizedMetric> tasks = {{{"acc", 0.5, 0.1}, 3}, {{"acc", 1.0, 0.2}, 1}};
  const GroupScore g = group_score(tasks);
  EXPECT_DOUBLE_EQ(g.micro.value, 2.5 / 4);
  EXPECT_DOUBLE_EQ(g.macro, 0.75);
  EXPECT_EQ(g.items, 4);
  // (2 * 0.01 * 3 + 0) / (4 - 2) / 4
  EXPECT_DOUBLE_EQ(*g.micro.standard_error, std::sqrt(0.06 / 2 / 4));
}

}  // namespace
}  // namespace scalebits
