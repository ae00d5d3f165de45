// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/prompts.h"

#include <algorithm>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

constexpr const char* kExampleDelimiter = "\n\n";

std::vector<TaskItem> pick(const std::vector<TaskItem>& pool, const std::vector<size_t>& indices) {
  std::vector<TaskItem> picked;
  for (const size_t i : indices) picked.push_back(pool[i]);
  return picked;
}

/// lm_eval/api/samplers.py, ContextSampler and FirstNSampler.
std::vector<TaskItem> draw_examples(const Task& task, const TaskItem& item, size_t n, PythonRandom& random) {
  const std::vector<TaskItem>& pool = task.examples;
  if (n == 0) return {};
  const auto first = [&](std::vector<TaskItem> items) {
    items.resize(std::min(items.size(), n));
    return items;
  };
  const auto without_item = [&](std::vector<TaskItem> items) {
    std::erase(items, item);
    return items;
  };
  if (task.spec.sampler == ExampleSampler::kFirst) return first(pool);
  const bool spare = task.spec.sampler == ExampleSampler::kRandomSpareOne || task.examples_are_items;
  if (!spare) return pick(pool, random.sample(pool.size(), n));
  std::vector<TaskItem> drawn = first(without_item(pick(pool, random.sample(pool.size(), n + 1))));
  if (drawn.size() == n) return drawn;
  // The item was drawn more than once, because the pool has copies of it.
  const std::vector<TaskItem> others = without_item(pool);
  if (others.size() < n) {
    fail<InvalidArgument>("--num-fewshot",
                          "got {}, expected at most {}: so many examples differ from one of the items.", n,
                          others.size());
  }
  return pick(others, random.sample(others.size(), n));
}

/// The last word is a continuation with its own space before it.
std::string last_word(const TaskItem& item) { return " " + item.target; }

std::string example_text(const TaskSpec& spec, const TaskItem& item) {
  const std::string& chosen = item.choices.empty() ? item.target : item.choices[static_cast<size_t>(item.gold)];
  switch (spec.kind) {
    case TaskKind::kChoices:
      return item.question + spec.answer_delimiter + chosen + kExampleDelimiter;
    case TaskKind::kContexts:
      return chosen + spec.answer_delimiter + item.target + kExampleDelimiter;
    case TaskKind::kLastWord:  // two spaces: the harness puts its delimiter before a word that has its own
      return item.question + spec.answer_delimiter + last_word(item) + kExampleDelimiter;
    case TaskKind::kGenerate:
      return item.question + spec.answer_delimiter + item.target + kExampleDelimiter;
  }
  check_failed(__FILE__, __LINE__, "known kind");
}

Prompt prompt_of(const TaskSpec& spec, const TaskItem& item, const std::string& before) {
  Prompt prompt;
  switch (spec.kind) {
    case TaskKind::kChoices:
      prompt.contexts = {before + item.question};
      for (const std::string& choice : item.choices) prompt.continuations.push_back(spec.answer_delimiter + choice);
      return prompt;
    case TaskKind::kContexts:
      for (const std::string& context : item.choices) prompt.contexts.push_back(before + context);
      prompt.continuations = {spec.answer_delimiter + item.target};
      return prompt;
    case TaskKind::kLastWord:
      prompt.contexts = {before + item.question};
      prompt.continuations = {last_word(item)};
      return prompt;
    case TaskKind::kGenerate:
      prompt.contexts = {before + item.question};
      return prompt;
  }
  check_failed(__FILE__, __LINE__, "known kind");
}

}  // namespace

std::vector<Prompt> task_prompts(const Task& task, int64_t n_items, int64_t n_examples) {
  SCALEBITS_CHECK(n_items <= static_cast<int64_t>(task.items.size()));
  PythonRandom random(kExampleSeed);
  std::vector<Prompt> prompts;
  for (int64_t i = 0; i < n_items; ++i) {
    const TaskItem& item = task.items[static_cast<size_t>(i)];
    std::string before = task.spec.description;
    for (const TaskItem& example : draw_examples(task, item, static_cast<size_t>(n_examples), random)) {
      before += example_text(task.spec, example);
    }
    prompts.push_back(prompt_of(task.spec, item, before));
  }
  return prompts;
}

}  // namespace scalebits
