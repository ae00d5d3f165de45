// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/likelihood.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/eval/forest_forward.h"
#include "scalebits/eval/token_scores.h"

namespace scalebits {
namespace {

std::span<const TokenId> input_of(const LikelihoodRequest& request) {
  return std::span(request.ids).first(request.ids.size() - 1);
}

/// A token of a continuation: behind which row of a group it is predicted, and whose it is.
struct Target {
  int64_t row = 0;
  TokenId id = 0;
  TokenScore* score = nullptr;
};

/// Requests order[first .. end) of a batch.
struct Batch {
  std::vector<size_t> requests;
  TextForest forest;
  ForestGroups groups;
  std::vector<std::vector<TokenScore>> scores;  ///< of each request, its continuation's tokens
  std::vector<std::vector<Target>> targets;     ///< of each group, by row
};

/// The run of a path that holds a position.
int64_t run_at(const TextForest& forest, const std::vector<int64_t>& path, int64_t position) {
  for (const int64_t run : path) {
    const ForestRun& r = forest.runs[static_cast<size_t>(run)];
    if (position < r.position + static_cast<int64_t>(r.ids.size())) return run;
  }
  check_failed(__FILE__, __LINE__, "position inside the path");
}

void find_targets(std::span<const LikelihoodRequest> requests, Batch& batch) {
  batch.targets.resize(batch.groups.groups.size());
  for (size_t i = 0; i < batch.requests.size(); ++i) {
    const LikelihoodRequest& request = requests[batch.requests[i]];
    batch.scores.emplace_back(static_cast<size_t>(request.predicted));
    const auto first = static_cast<int64_t>(request.ids.size()) - request.predicted;
    for (int64_t t = 0; t < request.predicted; ++t) {
      const int64_t position = first + t - 1;
      const auto run = static_cast<size_t>(run_at(batch.forest, batch.forest.paths[i], position));
      const RunPlace place = batch.groups.places[run];
      batch.targets[static_cast<size_t>(place.group)].push_back({place.row + position - batch.forest.runs[run].position,
                                                                 request.ids[static_cast<size_t>(first + t)],
                                                                 &batch.scores.back()[static_cast<size_t>(t)]});
    }
  }
  for (auto& targets : batch.targets) {
    std::stable_sort(targets.begin(), targets.end(), [](const Target& a, const Target& b) { return a.row < b.row; });
  }
}

/// Scores the targets of one group. @param hidden [rows, d_model] final hidden states
void score_group(const ModelWeights& weights, const at::Tensor& hidden, std::span<const Target> targets) {
  std::vector<int64_t> rows;  // each once
  std::vector<size_t> begins;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!rows.empty() && rows.back() == targets[i].row) continue;
    rows.push_back(targets[i].row);
    begins.push_back(i);
  }
  begins.push_back(targets.size());
  const auto step = static_cast<size_t>(logit_rows_at_once(weights.config().vocab_size));
  for (size_t first = 0; first < rows.size(); first += step) {
    const size_t n = std::min(step, rows.size() - first);
    const at::Tensor index = at::from_blob(rows.data() + first, {static_cast<int64_t>(n)}, at::kLong);
    const at::Tensor logits = weights.logits(hidden.index_select(0, index));
    std::vector<RowTarget> asked;
    for (size_t i = begins[first]; i < begins[first + n]; ++i) {
      const auto row = std::lower_bound(rows.begin(), rows.end(), targets[i].row) - rows.begin();
      asked.push_back({row - static_cast<int64_t>(first), targets[i].id});
    }
    std::vector<TokenScore> scores(asked.size());
    score_targets(logits, asked, scores);
    for (size_t i = 0; i < scores.size(); ++i) *targets[begins[first] + i].score = scores[i];
  }
}

Likelihood total(std::span<const TokenScore> scores, size_t request) {
  Likelihood sum{0.0, true};
  for (const TokenScore& s : scores) {
    sum.log_likelihood -= s.nll;
    sum.greedy = sum.greedy && s.top;
  }
  if (!std::isfinite(sum.log_likelihood)) {
    fail<Error>("likelihood", "request {}: got a log-likelihood of {}, expected a finite one. Are the weights sound?",
                request, sum.log_likelihood);
  }
  return sum;
}

/// Requests from order[first] on whose unshared tokens fit into a batch, at least one.
Batch next_batch(std::span<const LikelihoodRequest> requests, std::span<const size_t> order, int64_t batch_tokens) {
  Batch batch;
  std::vector<std::span<const TokenId>> inputs;
  int64_t tokens = 0;
  for (const size_t request : order) {
    const std::span<const TokenId> input = input_of(requests[request]);
    const int64_t shared = inputs.empty() ? 0 : common_beginning(inputs.back(), input);
    tokens += static_cast<int64_t>(input.size()) - shared;
    if (tokens > batch_tokens && !inputs.empty()) break;
    inputs.push_back(input);
    batch.requests.push_back(request);
  }
  batch.forest = share_beginnings(inputs);
  batch.groups = group_runs(batch.forest);
  find_targets(requests, batch);
  return batch;
}

}  // namespace

std::vector<Likelihood> measure_likelihoods(const ModelWeights& weights, std::span<const LikelihoodRequest> requests,
                                            int64_t batch_tokens, Log& log, LikelihoodTally* tally) {
  if (requests.empty()) return {};
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::ranges::lexicographical_compare(requests[a].ids, requests[b].ids);
  });
  std::vector<Likelihood> results(requests.size());
  const auto n = static_cast<int64_t>(requests.size());
  for (size_t done = 0; done < order.size();) {
    log.progress("likelihoods", static_cast<int64_t>(done), n);
    Batch batch = next_batch(requests, std::span(order).subspan(done), batch_tokens);
    for_each_group_hidden(weights, batch.forest, batch.groups, [&](int64_t group, const at::Tensor& hidden) {
      score_group(weights, hidden, batch.targets[static_cast<size_t>(group)]);
    });
    for (size_t i = 0; i < batch.requests.size(); ++i) {
      results[batch.requests[i]] = total(batch.scores[i], batch.requests[i]);
      if (tally != nullptr) tally->tokens_unshared += static_cast<int64_t>(requests[batch.requests[i]].ids.size()) - 1;
    }
    if (tally != nullptr) tally->tokens += batch.forest.tokens();
    done += batch.requests.size();
  }
  log.progress("likelihoods", n, n);
  return results;
}

}  // namespace scalebits
