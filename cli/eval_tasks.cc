// SPDX-License-Identifier: Apache-2.0
#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <memory>

#include "cli/command.h"
#include "cli/eval_model.h"
#include "scalebits/base/errors.h"
#include "scalebits/eval/run_tasks.h"
#include "scalebits/io/file.h"

namespace scalebits::cli {
namespace {

struct Flags {
  EvalModelFlags model;
  TaskOptions options;
  int64_t num_fewshot = -1;
  std::string log_samples;
};

std::string error_text(const Metric& metric) {
  return metric.standard_error ? fmt::format("{:.4f}", *metric.standard_error) : "-";
}

void print_results(const std::vector<TaskRun>& runs, const std::vector<NamedGroup>& groups) {
  print_line("{:<36} {:>6} {:>5}  {:<28} {:>9} {:>9}", "task", "items", "shots", "metric", "value", "stderr");
  for (const TaskRun& run : runs) {
    for (const Metric& metric : run.metrics) {
      print_line("{:<36} {:>6} {:>5}  {:<28} {:>9.4f} {:>9}", run.task.spec.name, run.scores.size(), run.n_examples,
                 metric.name, metric.value, error_text(metric));
    }
  }
  for (const NamedGroup& group : groups) {
    print_line("{:<36} {:>6} {:>5}  {:<28} {:>9.4f} {:>9}", group.name, group.score.items, "",
               group.score.micro.name + " (every item)", group.score.micro.value, error_text(group.score.micro));
    print_line("{:<36} {:>6} {:>5}  {:<28} {:>9.4f}", group.name, group.score.items, "",
               group.score.micro.name + " (every task)", group.score.macro);
  }
}

/// The text that the model reads for the first item of a task, and what is scored behind it.
std::string first_prompt(const TaskRun& run) {
  const Prompt& prompt = run.prompts.front();
  return prompt.contexts.front() + (prompt.continuations.empty() ? "" : prompt.continuations.front());
}

void log_first_prompts(const std::vector<TaskRun>& runs, Log& log) {
  for (const TaskRun& run : runs) {
    log.info("{}: {} of {} items of {}, {} examples each{}; the first prompt, with its first answer:",
             run.task.spec.name, run.prompts.size(), run.task.items.size(), run.task.file.string(), run.n_examples,
             run.task.examples_are_items ? " (drawn from the other items)" : "");
    log.info("{}", first_prompt(run));
  }
}

/// A folder gets a file for each task, anything else is one file for all.
void write_samples(const std::vector<TaskRun>& runs, const std::string& path) {
  const bool folder = path.ends_with('/') || std::filesystem::is_directory(path);
  if (folder) std::filesystem::create_directories(path);
  std::string all;
  for (const TaskRun& run : runs) {
    const std::string lines = sample_lines(run);
    if (folder) {
      write_text_file(std::filesystem::path(path) / ("samples_" + run.task.spec.name + ".jsonl"), lines);
    } else {
      all += lines;
    }
  }
  if (!folder) write_text_file(path, all);
}

Json metrics_json(const TaskRun& run) {
  Json json = {{"items", run.scores.size()}, {"num_fewshot", run.n_examples}, {"file", run.task.file.string()}};
  for (const Metric& metric : run.metrics) {
    json[metric.name] = metric.value;
    json[metric.name + "_stderr"] = metric.standard_error ? Json(*metric.standard_error) : Json(nullptr);
  }
  json["first_prompt"] = first_prompt(run);
  return json;
}

Json result_json(const std::vector<TaskRun>& runs, const std::vector<NamedGroup>& groups, const TaskTally& tally) {
  Json tasks = Json::object(), named = Json::object();
  for (const TaskRun& run : runs) tasks[run.task.spec.name] = metrics_json(run);
  for (const NamedGroup& group : groups) {
    const GroupScore& s = group.score;
    named[group.name] = {
        {"items", s.items},
        {"tasks", s.tasks},
        {s.micro.name, s.micro.value},
        {s.micro.name + "_stderr", s.micro.standard_error ? Json(*s.micro.standard_error) : Json(nullptr)},
        {s.micro.name + "_macro", s.macro}};
  }
  return {
      {"tasks", std::move(tasks)},
      {"groups", std::move(named)},
      {"tokens", tally.likelihoods.tokens},
      {"tokens_unshared", tally.likelihoods.tokens_unshared},
      {"seconds", tally.likelihood_seconds},
      {"tokens_per_second",
       tally.likelihood_seconds > 0 ? static_cast<double>(tally.likelihoods.tokens) / tally.likelihood_seconds : 0.0},
      {"generated_tokens", tally.answers.new_tokens}};
}

Json run(Flags flags, Session& session) {
  TaskOptions& options = flags.options;
  if (flags.num_fewshot >= 0) options.num_fewshot = flags.num_fewshot;
  options.activations = flags.model.activations == "int8" ? Activations::kInt8 : Activations::kFloat;
  std::vector<TaskRun> runs = prepare_tasks(options);
  const auto model = open_for_eval(flags.model);
  const Tokenizer tokenizer(flags.model.dir);
  log_first_prompts(runs, session.log);
  TaskTally tally;
  run_tasks(*model, tokenizer, options, runs, session.log, tally);
  const std::vector<NamedGroup> groups = task_groups(runs);
  print_results(runs, groups);
  if (tally.likelihoods.tokens > 0) {
    session.log.info("{} tokens computed in {:.1f} s ({:.0f} tokens/s); without what texts share it would be {}",
                     grouped(tally.likelihoods.tokens), tally.likelihood_seconds,
                     static_cast<double>(tally.likelihoods.tokens) / tally.likelihood_seconds,
                     grouped(tally.likelihoods.tokens_unshared));
  }
  if (!flags.log_samples.empty()) write_samples(runs, flags.log_samples);
  return result_json(runs, groups, tally);
}

}  // namespace

void add_eval_tasks(CLI::App& eval, Invocation& invocation) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(
      eval, "tasks", "Accuracy on tasks, with the prompts and the scoring of EleutherAI's lm-evaluation-harness",
      invocation);
  command->add_option("MODEL", flags->model.dir, "Directory of a dense or packed checkpoint")->required();
  command
      ->add_option("--tasks", flags->options.names,
                   "Separated by commas: winogrande, piqa, hellaswag, arc_easy, arc_challenge, boolq, lambada_openai, "
                   "gsm8k, mmlu, mmlu_stem (or another category), mmlu_anatomy (or another subject), FILE.jsonl")
      ->required()
      ->delimiter(',')
      ->type_name("NAME,..");
  command
      ->add_option("--data", flags->options.data_dir,
                   "Folder with the tasks' files; their places and formats: docs/tasks.md (default: the current one)")
      ->type_name("DIR");
  command->add_option("--limit", flags->options.limit, "Only the first N items of each task (default: all)")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command
      ->add_option("--num-fewshot", flags->num_fewshot,
                   "Solved examples before each question (default: 5 for mmlu and gsm8k, else 0)")
      ->check(CLI::NonNegativeNumber)
      ->type_name("K");
  command
      ->add_option("--log-samples", flags->log_samples,
                   "Write a line of JSON for each item: to this file, or to DIR/samples_TASK.jsonl")
      ->type_name("FILE|DIR/");
  command
      ->add_option("--batch", flags->options.batch_tokens, "Tokens that are computed together; more take more memory")
      ->check(CLI::PositiveNumber)
      ->type_name("TOKENS")
      ->capture_default_str();
  command->add_option("--max-new-tokens", flags->options.max_new_tokens, "Longest answer of gsm8k")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->capture_default_str();
  add_arithmetic_options(command, flags->model);
  on_run(command, invocation, [flags](Session& session) { return run(*flags, session); });
}

}  // namespace scalebits::cli
