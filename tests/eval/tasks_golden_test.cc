// SPDX-License-Identifier: Apache-2.0
// Prompts, likelihoods and scores against EleutherAI's lm-evaluation-harness on models/demo-5m and the same items:
// tests/eval/golden/tasks.json, made by tools/golden/tasks_golden.py.
#include <gmock/gmock.h>

#include <fstream>

#include "scalebits/eval/run_tasks.h"
#include "scalebits/io/json.h"
#include "tests/data.h"

namespace scalebits {
namespace {

std::filesystem::path data_dir() { return test::shared_data() / "tasks"; }
const Json& golden() {
  static const Json file = read_json(test::source_dir() / "tests/eval/golden/tasks.json");
  return file;
}

/// f32 on both sides, whose sums differ in order: logits here span less than 30, so that a token's log-likelihood is
/// off by a few times 30 * 2^-24 = 2e-6, and an answer has up to some 100 tokens.
constexpr double kTolerance = 5e-4;

std::vector<TaskRun> run(const std::vector<std::string>& names, int64_t limit) {
  TaskOptions options;
  options.names = names;
  options.data_dir = data_dir();
  options.limit = limit;
  std::vector<TaskRun> runs = prepare_tasks(options);
  const auto model = open_model(test::demo_model());
  const Tokenizer tokenizer(test::demo_model());
  TaskTally tally;
  run_tasks(*model, tokenizer, options, runs, silent_log(), tally);
  return runs;
}

void expect_golden(const TaskRun& task) {
  const Json& expected = golden()["tasks"][task.task.spec.name];
  const Prompt& first = task.prompts.front();
  EXPECT_EQ(first.contexts.front() + first.continuations.front(), expected["first_prompt"].get<std::string>());
  const Json& items = expected["items"];
  ASSERT_EQ(items.size(), task.scores.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const ItemScore& score = task.scores[i];
    const auto values = items[i]["log_likelihoods"].get<std::vector<double>>();
    ASSERT_EQ(values.size(), score.likelihoods.size());
    for (size_t c = 0; c < values.size(); ++c) {
      EXPECT_NEAR(score.likelihoods[c].log_likelihood, values[c], kTolerance) << i << ", choice " << c;
      EXPECT_EQ(score.likelihoods[c].greedy, items[i]["greedy"][c].get<bool>()) << i << ", choice " << c;
    }
    EXPECT_EQ(score.right ? 1 : 0, items[i]["acc"].get<int>()) << i;
    if (task.task.spec.norm) {
      EXPECT_EQ(score.right_norm ? 1 : 0, items[i]["acc_norm"].get<int>()) << i;
    }
  }
  for (const Metric& metric : task.metrics) {
    EXPECT_NEAR(metric.value, expected["metrics"][metric.name + ",none"].get<double>(), kTolerance * metric.value)
        << metric.name;
  }
}

TEST(TasksGolden, ChoicesLikelihoodsAndScoresAreTheHarnesss) {
  SCALEBITS_NEEDS_SHARED_DATA();
  for (const TaskRun& task :
       run({"winogrande", "piqa", "hellaswag", "arc_easy", "arc_challenge", "boolq", "lambada_openai",
            "mmlu_abstract_algebra", "mmlu_us_foreign_policy", "mmlu_high_school_psychology"},
           30)) {
    SCOPED_TRACE(task.task.spec.name);
    expect_golden(task);
  }
}

TEST(TasksGolden, GeneratedAnswersAreTheHarnesss) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const TaskRun task = std::move(run({"gsm8k"}, 4).front());
  const Json& expected = golden()["tasks"]["gsm8k"];
  EXPECT_EQ(task.prompts.front().contexts.front(), expected["first_prompt"].get<std::string>());
  for (size_t i = 0; i < task.scores.size(); ++i) {
    // Keys and values are kept in f16 here and in f32 there, so that late tokens of 256 may be others.
    const auto answer = expected["items"][i]["answer"].get<std::string>();
    EXPECT_EQ(task.scores[i].answer.substr(0, 60), answer.substr(0, 60)) << i;
    EXPECT_EQ(task.scores[i].right_strict ? 1 : 0, expected["items"][i]["right"][0].get<int>()) << i;
  }
}

TEST(TasksGolden, DrawnExamplesAreTheHarnesss) {
  SCALEBITS_NEEDS_SHARED_DATA();
  for (const auto& [name, prompts] : golden()["fewshot_prompts"].items()) {
    SCOPED_TRACE(name);
    const TaskSpec spec = find_tasks(name).front();
    // As in tasks_golden.py: the last 60 lines of the file are the pool.
    const test::TempDir dir;
    std::vector<std::string> lines;
    std::ifstream file(data_dir() / spec.items);
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    std::filesystem::create_directories((dir.path() / spec.items).parent_path());
    std::ofstream items(dir.path() / spec.items), pool(dir.path() / spec.examples);
    for (size_t i = 0; i < lines.size(); ++i) (i + 60 < lines.size() ? items : pool) << lines[i] << "\n";
    items.close();
    pool.close();
    const Task task = read_task(spec, dir.path(), 2);
    const auto ours = task_prompts(task, static_cast<int64_t>(prompts.size()), 2);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(ours[i].contexts.front() + ours[i].continuations.front(), prompts[i].get<std::string>()) << i;
    }
  }
}

}  // namespace
}  // namespace scalebits
