// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/task_scores.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/eval/answer_match.h"
#include "scalebits/eval/python_text.h"

namespace scalebits {
namespace {

int64_t first_largest(const std::vector<double>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

/// Of the mean. lm_eval/api/metrics.py, mean_stderr.
std::optional<double> standard_error(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const double mean = mean_of(values), n = static_cast<double>(values.size());
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / (n - 1)) / std::sqrt(n);
}

Metric mean_metric(const std::string& name, std::span<const ItemScore> items, bool ItemScore::*right) {
  std::vector<double> values;
  for (const ItemScore& item : items) values.push_back(item.*right ? 1.0 : 0.0);
  return {name, mean_of(values), standard_error(values)};
}

Metric perplexity_metric(std::span<const ItemScore> items) {
  std::vector<double> values;
  for (const ItemScore& item : items) values.push_back(item.likelihoods.front().log_likelihood);
  Metric metric{"perplexity", std::exp(-mean_of(values)), standard_error(values)};
  if (metric.standard_error) *metric.standard_error *= metric.value;
  return metric;
}

}  // namespace

ItemScore score_choices(const TaskItem& item, TaskKind kind, std::vector<Likelihood> likelihoods) {
  ItemScore score;
  if (kind == TaskKind::kLastWord) {
    score.right = likelihoods.front().greedy;
  } else {
    SCALEBITS_CHECK(likelihoods.size() == item.choices.size());
    std::vector<double> values, per_character;
    for (size_t i = 0; i < likelihoods.size(); ++i) {
      values.push_back(likelihoods[i].log_likelihood);
      per_character.push_back(values.back() / static_cast<double>(python_length(item.choices[i])));
    }
    score.pick = first_largest(values);
    score.pick_norm = first_largest(per_character);
    score.right = score.pick == item.gold;
    score.right_norm = score.pick_norm == item.gold;
  }
  score.likelihoods = std::move(likelihoods);
  return score;
}

ItemScore score_answer(const TaskItem& item, std::string answer) {
  ItemScore score;
  score.strict = strict_answer(answer);
  score.flexible = flexible_answer(answer);
  score.right_strict = answers_match(score.strict, item.target);
  score.right_flexible = answers_match(score.flexible, item.target);
  score.answer = std::move(answer);
  return score;
}

std::vector<Metric> task_metrics(const TaskSpec& spec, std::span<const ItemScore> items) {
  SCALEBITS_CHECK(!items.empty());
  if (spec.kind == TaskKind::kGenerate) {
    return {mean_metric("exact_match,strict-match", items, &ItemScore::right_strict),
            mean_metric("exact_match,flexible-extract", items, &ItemScore::right_flexible)};
  }
  std::vector<Metric> metrics = {mean_metric("acc", items, &ItemScore::right)};
  if (spec.norm) metrics.push_back(mean_metric("acc_norm", items, &ItemScore::right_norm));
  if (spec.kind == TaskKind::kLastWord) metrics.push_back(perplexity_metric(items));
  return metrics;
}

GroupScore group_score(std::span<const SizedMetric> tasks) {
  SCALEBITS_CHECK(!tasks.empty());
  GroupScore group;
  group.micro.name = tasks.front().metric.name;
  double weighted = 0, sum = 0, variance = 0;
  bool has_error = true;
  for (const SizedMetric& task : tasks) {
    const auto n = static_cast<double>(task.items);
    weighted += n * task.metric.value;
    sum += task.metric.value;
    has_error = has_error && task.metric.standard_error.has_value();
    // lm_eval/api/metrics.py, pooled_sample_stderr.
    const double error = task.metric.standard_error.value_or(0.0);
    variance += (n - 1) * error * error * n;
    group.items += task.items;
    ++group.tasks;
  }
  const auto items = static_cast<double>(group.items), count = static_cast<double>(group.tasks);
  group.micro.value = weighted / items;
  group.macro = sum / count;
  if (has_error) group.micro.standard_error = std::sqrt(variance / (items - count) / items);
  return group;
}

}  // namespace scalebits
