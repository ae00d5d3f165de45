// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/run_tasks.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/eval/encode_pairs.h"

namespace scalebits {
namespace {

/// Where generated answers end (lm_eval/tasks/gsm8k/gsm8k.yaml).
const std::vector<std::string> kAnswerStops = {"Question:", "</s>", "<|im_end|>"};

bool generates(const TaskRun& run) { return run.task.spec.kind == TaskKind::kGenerate; }

std::string item_name(const TaskRun& run, size_t item) { return fmt::format("{}, item {}", run.task.spec.name, item); }

/// Requests of all items of a task, in order; items in parallel, because contexts with examples are long.
std::vector<LikelihoodRequest> encode_task(const TaskRun& run, const Tokenizer& tokenizer, int64_t max_context) {
  std::vector<std::vector<LikelihoodRequest>> encoded(run.prompts.size());
  parallel_for(static_cast<int64_t>(run.prompts.size()), [&](int64_t index) {
    const auto i = static_cast<size_t>(index);
    throw_if_stopped();
    const Prompt& prompt = run.prompts[i];
    for (size_t c = 0; c < prompt.pairs(); ++c) {
      encoded[i].push_back(
          encode_pair(tokenizer, prompt.context(c), prompt.continuation(c), max_context, item_name(run, i)));
    }
  });
  std::vector<LikelihoodRequest> requests;
  for (auto& item : encoded) std::move(item.begin(), item.end(), std::back_inserter(requests));
  return requests;
}

void score_likelihoods(TaskRun& run, std::span<const Likelihood> likelihoods) {
  for (size_t i = 0, at = 0; i < run.prompts.size(); ++i) {
    const size_t n = run.prompts[i].pairs();
    const auto part = likelihoods.subspan(at, n);
    run.scores.push_back(score_choices(run.task.items[i], run.task.spec.kind, {part.begin(), part.end()}));
    at += n;
  }
}

void generate(ModelWeights& weights, const Tokenizer& tokenizer, const TaskOptions& options, TaskRun& run, Log& log,
              TaskTally& tally) {
  std::vector<std::string> contexts;
  for (const Prompt& prompt : run.prompts) contexts.push_back(prompt.contexts.front());
  const AnswerOptions how{
      .max_new_tokens = options.max_new_tokens, .stop = kAnswerStops, .activations = options.activations};
  std::vector<std::string> answers = generate_answers(weights, tokenizer, contexts, how, log, &tally.answers);
  for (size_t i = 0; i < answers.size(); ++i) {
    run.scores.push_back(score_answer(run.task.items[i], std::move(answers[i])));
  }
}

}  // namespace

std::vector<TaskRun> prepare_tasks(const TaskOptions& options) {
  std::vector<TaskRun> runs;
  std::set<std::string> seen;
  for (const std::string& name : options.names) {
    for (const TaskSpec& spec : find_tasks(name)) {
      if (!seen.insert(spec.name).second)
        fail<InvalidArgument>("--tasks", "got {} twice, expected it once.", spec.name);
      TaskRun run;
      run.n_examples = options.num_fewshot.value_or(spec.default_examples);
      run.task = read_task(spec, options.data_dir, run.n_examples);
      const auto available = static_cast<int64_t>(run.task.items.size());
      run.prompts =
          task_prompts(run.task, options.limit > 0 ? std::min(options.limit, available) : available, run.n_examples);
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

void run_tasks(ModelWeights& weights, const Tokenizer& tokenizer, const TaskOptions& options,
               std::vector<TaskRun>& runs, Log& log, TaskTally& tally) {
  std::vector<LikelihoodRequest> requests;
  std::vector<size_t> counts(runs.size());
  for (size_t r = 0; r < runs.size(); ++r) {
    if (generates(runs[r])) continue;
    auto encoded = encode_task(runs[r], tokenizer, weights.config().max_context);
    counts[r] = encoded.size();
    std::move(encoded.begin(), encoded.end(), std::back_inserter(requests));
  }
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Likelihood> likelihoods =
      measure_likelihoods(weights, requests, options.batch_tokens, log, &tally.likelihoods);
  tally.likelihood_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  size_t at = 0;
  for (size_t r = 0; r < runs.size(); ++r) {
    if (generates(runs[r])) {
      generate(weights, tokenizer, options, runs[r], log, tally);
    } else {
      score_likelihoods(runs[r], std::span(likelihoods).subspan(at, counts[r]));
    }
    at += counts[r];
    runs[r].metrics = task_metrics(runs[r].task.spec, runs[r].scores);
  }
}

std::vector<NamedGroup> task_groups(const std::vector<TaskRun>& runs) {
  std::vector<NamedGroup> groups;
  const auto add = [&](const std::string& name, auto belongs) {
    std::vector<SizedMetric> tasks;
    for (const TaskRun& run : runs) {
      if (belongs(run.task.spec)) tasks.push_back({run.metrics.front(), static_cast<int64_t>(run.scores.size())});
    }
    if (tasks.size() > 1) groups.push_back({name, group_score(tasks)});
  };
  for (const TaskRun& run : runs) {
    const TaskSpec& spec = run.task.spec;
    if (spec.group.empty()) continue;
    const std::string category = spec.group + "_" + spec.category;
    const auto known = [&](const std::string& name) {
      return std::any_of(groups.begin(), groups.end(), [&](const NamedGroup& g) { return g.name == name; });
    };
    if (!known(spec.group)) add(spec.group, [&](const TaskSpec& s) { return s.group == spec.group; });
    if (!known(category)) {
      add(category, [&](const TaskSpec& s) { return s.group == spec.group && s.category == spec.category; });
    }
  }
  return groups;
}

}  // namespace scalebits
