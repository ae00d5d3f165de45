// SPDX-License-Identifier: Apache-2.0
/// From what a model says about the items of a task to the figures that are reported, as the harness computes them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "scalebits/eval/likelihood.h"
#include "scalebits/eval/task.h"

namespace scalebits {

/// One item's outcome. Which fields count depends on the task's kind.
struct ItemScore {
  std::vector<Likelihood> likelihoods;     ///< one for each choice, or one
  int64_t pick = 0, pick_norm = 0;         ///< most probable choice; most probable per character
  bool right = false, right_norm = false;  ///< kLastWord: whether greedy decoding gives the word
  std::string answer, strict, flexible;    ///< kGenerate: the text, and the answers found in it
  bool right_strict = false, right_flexible = false;
};

/// A choice is right if it has the highest log-likelihood; `_norm`: divided by its characters. Ties: the first.
ItemScore score_choices(const TaskItem& item, TaskKind kind, std::vector<Likelihood> likelihoods);
ItemScore score_answer(const TaskItem& item, std::string answer);

struct Metric {
  std::string name;  ///< "acc", "acc_norm", "perplexity", "exact_match,strict-match", ...
  double value = 0.0;
  std::optional<double> standard_error;  ///< none for a single item
};

/// acc and acc_norm: mean, and sample standard deviation / sqrt(n). perplexity: exp(-mean log-likelihood), its standard
/// error by the delta method, which is what the harness's bootstrap estimates.
std::vector<Metric> task_metrics(const TaskSpec& spec, std::span<const ItemScore> items);

/// A group of tasks that report the same metric.
struct GroupScore {
  Metric micro;        ///< every item counts the same; standard error pooled over tasks
  double macro = 0.0;  ///< every task counts the same
  int64_t items = 0, tasks = 0;
};
struct SizedMetric {
  Metric metric;
  int64_t items = 0;
};
GroupScore group_score(std::span<const SizedMetric> tasks);

}  // namespace scalebits
