// SPDX-License-Identifier: Apache-2.0
/// Runs a forest of texts through the model, layer by layer, every run once.
#pragma once

#include <functional>
#include <vector>

#include "scalebits/eval/text_forest.h"
#include "scalebits/model/weights.h"

namespace scalebits {

/// Where a run lies: a group of runs is the rows of one tensor, computed by one thread.
struct RunPlace {
  int64_t group = 0, row = 0;
};

struct ForestGroups {
  std::vector<std::vector<int64_t>> groups;  ///< runs of each, all of one level; lower levels first
  std::vector<RunPlace> places;              ///< of each run
};

ForestGroups group_runs(const TextForest& forest);

/// Hands the final hidden states [rows, d_model] f32 of every group to `sink(group, hidden)`, from any thread.
/// Memory: hidden states of all tokens, and one layer's keys and values of runs that others continue.
/// @throws Interrupted between layers
void for_each_group_hidden(const ModelWeights& weights, const TextForest& forest, const ForestGroups& groups,
                           const std::function<void(int64_t, const at::Tensor&)>& sink);

}  // namespace scalebits
