// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/run_tasks.h"
#include "scalebits/io/json.h"

namespace scalebits {
namespace {

Json likelihood_sample(const TaskRun& run, size_t i) {
  const ItemScore& score = run.scores[i];
  Json sample = {{"contexts", run.prompts[i].contexts}, {"continuations", run.prompts[i].continuations}};
  Json log_likelihoods = Json::array(), greedy = Json::array();
  for (const Likelihood& l : score.likelihoods) {
    log_likelihoods.push_back(l.log_likelihood);
    greedy.push_back(l.greedy);
  }
  sample["log_likelihoods"] = std::move(log_likelihoods);
  sample["greedy"] = std::move(greedy);
  if (run.task.spec.kind != TaskKind::kLastWord) {
    sample["gold"] = run.task.items[i].gold;
    sample["pick"] = score.pick;
    if (run.task.spec.norm) sample["pick_norm"] = score.pick_norm;
  }
  sample["acc"] = score.right ? 1 : 0;
  if (run.task.spec.norm) sample["acc_norm"] = score.right_norm ? 1 : 0;
  return sample;
}

Json answer_sample(const TaskRun& run, size_t i) {
  const ItemScore& score = run.scores[i];
  return {{"contexts", run.prompts[i].contexts},
          {"answer", score.answer},
          {"target", run.task.items[i].target},
          {"strict", score.strict},
          {"flexible", score.flexible},
          {"exact_match,strict-match", score.right_strict ? 1 : 0},
          {"exact_match,flexible-extract", score.right_flexible ? 1 : 0}};
}

}  // namespace

std::string sample_lines(const TaskRun& run) {
  std::string lines;
  for (size_t i = 0; i < run.scores.size(); ++i) {
    Json sample = {{"task", run.task.spec.name}, {"doc_id", i}};
    sample.update(run.task.spec.kind == TaskKind::kGenerate ? answer_sample(run, i) : likelihood_sample(run, i));
    lines += sample.dump() + "\n";
  }
  return lines;
}

}  // namespace scalebits
