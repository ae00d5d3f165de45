// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/prompts.h"

#include <gmock/gmock.h>

namespace scalebits {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Task numbered(TaskKind kind, ExampleSampler sampler, int n) {
  Task task;
  task.spec.kind = kind;
  task.spec.sampler = sampler;
  for (int i = 0; i < n; ++i) {
    const std::string s = std::to_string(i);
    TaskItem item;
    item.question = "Q" + s + ":";
    item.target = "t" + s;
    if (kind == TaskKind::kChoices || kind == TaskKind::kContexts) item.choices = {"a" + s, "b" + s};
    item.gold = item.choices.empty() ? 0 : i % 2;
    task.items.push_back(item);
  }
  task.examples = task.items;
  return task;
}

TEST(Prompts, WordingOfEachKind) {
  const auto prompt = [](TaskKind kind, int64_t n_examples) {
    return task_prompts(numbered(kind, ExampleSampler::kFirst, 4), 4, n_examples)[3];
  };
  const Prompt choices = prompt(TaskKind::kChoices, 2);
  EXPECT_THAT(choices.contexts, ElementsAre("Q0: a0\n\nQ1: b1\n\nQ3:"));
  EXPECT_THAT(choices.continuations, ElementsAre(" a3", " b3"));
  const Prompt contexts = prompt(TaskKind::kContexts, 1);
  EXPECT_THAT(contexts.contexts, ElementsAre("a0 t0\n\na3", "a0 t0\n\nb3"));
  EXPECT_THAT(contexts.continuations, ElementsAre(" t3"));
  EXPECT_EQ(contexts.pairs(), 2U);
  const Prompt word = prompt(TaskKind::kLastWord, 1);
  EXPECT_THAT(word.contexts, ElementsAre("Q0:  t0\n\nQ3:"));  // the harness's two spaces
  EXPECT_THAT(word.continuations, ElementsAre(" t3"));
  const Prompt answer = prompt(TaskKind::kGenerate, 1);
  EXPECT_THAT(answer.contexts, ElementsAre("Q0: t0\n\nQ3:"));
  EXPECT_EQ(answer.continuations.size(), 0U);
  EXPECT_THAT(prompt(TaskKind::kChoices, 0).contexts, ElementsAre("Q3:"));
}

TEST(Prompts, ADescriptionStandsFirst) {
  Task task = numbered(TaskKind::kChoices, ExampleSampler::kFirst, 2);
  task.spec.description = "About numbers.\n\n";
  EXPECT_EQ(task_prompts(task, 1, 1)[0].contexts[0], "About numbers.\n\nQ0: a0\n\nQ0:");
  EXPECT_EQ(task_prompts(task, 1, 0)[0].contexts[0], "About numbers.\n\nQ0:");
}

TEST(Prompts, ExamplesAreDrawnFromOneStreamItemByItem) {
  // random.Random(1234).sample(range(20), 3), twice: [14, 3, 0], [2, 18, 1].
  const auto prompts = task_prompts(numbered(TaskKind::kGenerate, ExampleSampler::kRandom, 20), 2, 3);
  EXPECT_EQ(prompts[0].contexts[0], "Q14: t14\n\nQ3: t3\n\nQ0: t0\n\nQ0:") << "the item itself may be among them";
  EXPECT_THAT(prompts[1].contexts[0], StartsWith("Q2: t2\n\nQ18: t18\n\nQ1: t1\n\nQ1:"));
}

TEST(Prompts, AnItemIsNoExampleForItselfWhereOneIsSpared) {
  // sample(range(20), 3) = [14, 3, 0]: item 0 is dropped from it, two are left.
  const auto spare = task_prompts(numbered(TaskKind::kGenerate, ExampleSampler::kRandomSpareOne, 20), 20, 2);
  EXPECT_EQ(spare[0].contexts[0], "Q14: t14\n\nQ3: t3\n\nQ0:");
  for (size_t i = 0; i < spare.size(); ++i) {
    EXPECT_THAT(spare[i].contexts[0], Not(HasSubstr("t" + std::to_string(i) + "\n")));
    EXPECT_THAT(spare[i].contexts[0], EndsWith("Q" + std::to_string(i) + ":"));
  }
  Task own = numbered(TaskKind::kGenerate, ExampleSampler::kRandom, 20);
  own.examples_are_items = true;
  EXPECT_EQ(task_prompts(own, 1, 2)[0].contexts[0], spare[0].contexts[0]);
}

TEST(Prompts, CopiesOfAnItemAreNoExamplesEither) {
  Task task = numbered(TaskKind::kGenerate, ExampleSampler::kRandomSpareOne, 20);
  for (size_t i = 2; i < 20; ++i) task.examples[i] = task.items[0];  // only 1 differs
  EXPECT_EQ(task_prompts(task, 1, 1)[0].contexts[0], "Q1: t1\n\nQ0:");
}

}  // namespace
}  // namespace scalebits
