// SPDX-License-Identifier: Apache-2.0
/// Evaluates a model on tasks: reads them, words the prompts, asks the model, scores.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "scalebits/eval/answer_generation.h"
#include "scalebits/eval/prompts.h"
#include "scalebits/eval/task_scores.h"

namespace scalebits {

struct TaskOptions {
  std::vector<std::string> names;
  std::filesystem::path data_dir;
  int64_t limit = 0;                   ///< items of each task, the first ones; 0 = all
  std::optional<int64_t> num_fewshot;  ///< none = each task's own
  int64_t batch_tokens = kDefaultBatchTokens;
  int64_t max_new_tokens = 256;
  Activations activations = Activations::kFloat;  ///< of packed layers that generate
};

/// One task on its way from file to figures.
struct TaskRun {
  Task task;
  int64_t n_examples = 0;
  std::vector<Prompt> prompts;
  std::vector<ItemScore> scores;  ///< of each prompt, once scored
  std::vector<Metric> metrics;
};

struct TaskTally {
  LikelihoodTally likelihoods;
  AnswerTally answers;
  double likelihood_seconds = 0.0;  ///< without reading and tokenizing
};

/// Reads the tasks and words their prompts. @throws what find_tasks and read_task throw; InvalidArgument for a task
/// that is named twice
std::vector<TaskRun> prepare_tasks(const TaskOptions& options);

/// All questions of all tasks are put to the model together; then answers are generated, task by task.
void run_tasks(ModelWeights& weights, const Tokenizer& tokenizer, const TaskOptions& options,
               std::vector<TaskRun>& runs, Log& log, TaskTally& tally);

/// One line of JSON for each item: what was asked, what the model said, how it was scored (docs/tasks.md).
std::string sample_lines(const TaskRun& run);

/// Groups that `runs` make up: "mmlu" and its categories; empty where there is none.
struct NamedGroup {
  std::string name;
  GroupScore score;
};
std::vector<NamedGroup> task_groups(const std::vector<TaskRun>& runs);

}  // namespace scalebits
