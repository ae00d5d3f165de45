// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/forest_forward.h"

#include <algorithm>

#include "scalebits/base/checked.h"
#include "scalebits/base/heap.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"

namespace scalebits {
namespace {

/// Rows of one group: enough for products at full speed, few enough that what a layer makes of them (d_ff floats each,
/// three times) stays small and that there are several groups to share out. The number of threads has no say in it:
/// results would depend on it.
constexpr int64_t kMaxGroupRows = 512, kMinGroupRows = 64, kGroupsWanted = 8;

int64_t count(const ForestRun& run) { return static_cast<int64_t>(run.ids.size()); }

at::Tensor embed_group(const ModelWeights& weights, const TextForest& forest, const std::vector<int64_t>& group) {
  std::vector<TokenId> ids;
  for (const int64_t run : group) {
    const auto& part = forest.runs[static_cast<size_t>(run)].ids;
    ids.insert(ids.end(), part.begin(), part.end());
  }
  return weights.embed(ids);
}

/// Groups [first, end) of each level.
std::vector<std::pair<int64_t, int64_t>> level_ranges(const TextForest& forest, const ForestGroups& groups) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (size_t g = 0; g < groups.groups.size(); ++g) {
    const int64_t level = forest.runs[static_cast<size_t>(groups.groups[g].front())].level;
    if (level == static_cast<int64_t>(ranges.size())) ranges.emplace_back(g, g);
    ranges.back().second = static_cast<int64_t>(g) + 1;
  }
  return ranges;
}

int64_t longest_text(const TextForest& forest) {
  int64_t longest = 0;
  for (const ForestRun& run : forest.runs) longest = std::max(longest, run.position + count(run));
  return longest;
}

/// What each run of a group reads and leaves in one layer. @param caches of each run
std::vector<TextRun> text_runs(const TextForest& forest, const ForestGroups& groups, const std::vector<int64_t>& group,
                               std::vector<KvCache>& caches) {
  std::vector<TextRun> runs;
  for (const int64_t index : group) {
    const auto i = static_cast<size_t>(index);
    const ForestRun& run = forest.runs[i];
    runs.push_back({.row = groups.places[i].row,
                    .count = count(run),
                    .position = run.position,
                    .before = run.parent < 0 ? nullptr : &caches[static_cast<size_t>(run.parent)],
                    .kept = run.continued ? &caches[i] : nullptr});
  }
  return runs;
}

}  // namespace

ForestGroups group_runs(const TextForest& forest) {
  ForestGroups result;
  result.places.resize(forest.runs.size());
  std::vector<std::vector<int64_t>> levels(static_cast<size_t>(forest.levels()));
  for (size_t i = 0; i < forest.runs.size(); ++i) {
    levels[static_cast<size_t>(forest.runs[i].level)].push_back(static_cast<int64_t>(i));
  }
  for (const auto& level : levels) {
    int64_t tokens = 0;
    for (const int64_t run : level) tokens += count(forest.runs[static_cast<size_t>(run)]);
    const int64_t rows = std::clamp(ceil_div(tokens, kGroupsWanted), kMinGroupRows, kMaxGroupRows);
    for (auto& group : balanced_groups(forest.runs, level, rows)) {
      int64_t row = 0;
      for (const int64_t run : group) {
        result.places[static_cast<size_t>(run)] = {static_cast<int64_t>(result.groups.size()), row};
        row += count(forest.runs[static_cast<size_t>(run)]);
      }
      result.groups.push_back(std::move(group));
    }
  }
  return result;
}

void for_each_group_hidden(const ModelWeights& weights, const TextForest& forest, const ForestGroups& groups,
                           const std::function<void(int64_t, const at::Tensor&)>& sink) {
  const RopeTable rope(weights.config(), longest_text(forest));
  const auto n = static_cast<int64_t>(groups.groups.size());
  std::vector<at::Tensor> x(static_cast<size_t>(n));
  parallel_for(n, [&](int64_t g) {
    x[static_cast<size_t>(g)] = embed_group(weights, forest, groups.groups[static_cast<size_t>(g)]);
  });
  const auto levels = level_ranges(forest, groups);
  for (int64_t l = 0; l < weights.config().n_layers; ++l) {
    throw_if_stopped();
    const DecoderLayer layer = decoded_once(weights.layer(l));
    std::vector<KvCache> caches(forest.runs.size());
    for (const auto& [first, end] : levels) {
      parallel_for(end - first, [&, begin = first](int64_t i) {
        const at::NoGradGuard no_grad;
        const auto g = static_cast<size_t>(begin + i);
        const std::vector<TextRun> runs = text_runs(forest, groups, groups.groups[g], caches);
        x[g] = decoder_layer_forward(weights.config(), layer, rope, x[g], runs);
      });
    }
    release_free_heap();
  }
  parallel_for(n, [&](int64_t g) {
    const at::NoGradGuard no_grad;
    sink(g, weights.final_hidden(x[static_cast<size_t>(g)]).squeeze(0));
    x[static_cast<size_t>(g)] = at::Tensor();
  });
}

}  // namespace scalebits
