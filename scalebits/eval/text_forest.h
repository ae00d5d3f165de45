// SPDX-License-Identifier: Apache-2.0
/// Token sequences with common beginnings, as trees of runs: what several share is held, and computed, once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scalebits/io/tokenizer.h"

namespace scalebits {

struct ForestRun {
  std::span<const TokenId> ids;  ///< of one of the sequences that it is part of
  int64_t parent = -1;           ///< run that it continues; -1 = it begins a sequence
  int64_t position = 0;          ///< of its first token in the sequence
  int64_t level = 0;             ///< number of runs before it
  bool continued = false;        ///< whether it is another's parent
};

struct TextForest {
  std::vector<ForestRun> runs;              ///< a parent comes before those that continue it
  std::vector<std::vector<int64_t>> paths;  ///< of each sequence: its runs, in order
  [[nodiscard]] int64_t tokens() const;     ///< of all runs together
  [[nodiscard]] int64_t levels() const;     ///< 0 when empty
};

/// Tokens that must be shared for a run of its own: below, the work that each run makes costs more than it spares.
inline constexpr int64_t kShortestSharedRun = 4;

/// @param sequences  none empty, in lexicographic order, so that those with a common beginning are neighbours
TextForest share_beginnings(std::span<const std::span<const TokenId>> sequences,
                            int64_t shortest_shared = kShortestSharedRun);

/// Tokens that both begin with.
int64_t common_beginning(std::span<const TokenId> a, std::span<const TokenId> b);

/// Indices of runs, each group holding about `tokens` tokens or one long run: the longest runs are placed first, each
/// into the lightest group, so that groups take about equally long. Inside a group runs are in order of index.
std::vector<std::vector<int64_t>> balanced_groups(std::span<const ForestRun> runs, std::span<const int64_t> chosen,
                                                  int64_t tokens);

}  // namespace scalebits
