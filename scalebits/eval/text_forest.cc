// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/text_forest.h"

#include <algorithm>
#include <numeric>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

using Ids = std::span<const TokenId>;

int64_t length(Ids ids) { return static_cast<int64_t>(ids.size()); }

class Builder {
 public:
  Builder(std::span<const Ids> sequences, int64_t shortest) : sequences_(sequences), shortest_(shortest) {
    for (size_t i = 1; i < sequences.size(); ++i) common_.push_back(common_beginning(sequences[i - 1], sequences[i]));
    forest_.paths.resize(sequences.size());
  }

  /// Sequences [first, end) have their first `depth` tokens in common, which are the runs of `path`.
  void build(size_t first, size_t end, int64_t depth, std::vector<int64_t>& path) {
    while (first < end) {
      size_t next = first + 1;
      while (next < end && common_[next - 1] - depth >= shortest_) ++next;
      if (next == first + 1) {
        finish(first, depth, path);
      } else {
        const int64_t shared = *std::min_element(common_.begin() + static_cast<std::ptrdiff_t>(first),
                                                 common_.begin() + static_cast<std::ptrdiff_t>(next) - 1);
        add_run(first, depth, shared, path);
        build(first, next, shared, path);
        path.pop_back();
      }
      first = next;
    }
  }

  TextForest take() { return std::move(forest_); }

 private:
  void add_run(size_t sequence, int64_t begin, int64_t end, std::vector<int64_t>& path) {
    ForestRun run;
    run.ids = sequences_[sequence].subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    run.parent = path.empty() ? -1 : path.back();
    run.position = begin;
    run.level = static_cast<int64_t>(path.size());
    if (run.parent >= 0) forest_.runs[static_cast<size_t>(run.parent)].continued = true;
    path.push_back(static_cast<int64_t>(forest_.runs.size()));
    forest_.runs.push_back(run);
  }

  /// The rest of a sequence, which it has alone (none where it is another's beginning).
  void finish(size_t sequence, int64_t depth, std::vector<int64_t>& path) {
    const bool rest = length(sequences_[sequence]) > depth;
    if (rest) add_run(sequence, depth, length(sequences_[sequence]), path);
    forest_.paths[sequence] = path;
    if (rest) path.pop_back();
  }

  std::span<const Ids> sequences_;
  int64_t shortest_;
  std::vector<int64_t> common_;  ///< of each sequence with the next
  TextForest forest_;
};

}  // namespace

int64_t TextForest::tokens() const {
  return std::accumulate(runs.begin(), runs.end(), int64_t{0},
                         [](int64_t sum, const ForestRun& run) { return sum + length(run.ids); });
}

int64_t TextForest::levels() const {
  int64_t levels = 0;
  for (const ForestRun& run : runs) levels = std::max(levels, run.level + 1);
  return levels;
}

int64_t common_beginning(Ids a, Ids b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

TextForest share_beginnings(std::span<const Ids> sequences, int64_t shortest_shared) {
  SCALEBITS_CHECK(shortest_shared >= 1);
  for (const Ids ids : sequences) SCALEBITS_CHECK(!ids.empty());
  Builder builder(sequences, shortest_shared);
  std::vector<int64_t> path;
  builder.build(0, sequences.size(), 0, path);
  return builder.take();
}

std::vector<std::vector<int64_t>> balanced_groups(std::span<const ForestRun> runs, std::span<const int64_t> chosen,
                                                  int64_t tokens) {
  const auto length_of = [&](int64_t i) { return length(runs[static_cast<size_t>(i)].ids); };
  std::vector<int64_t> by_length(chosen.begin(), chosen.end());
  std::stable_sort(by_length.begin(), by_length.end(),
                   [&](int64_t a, int64_t b) { return length_of(a) > length_of(b); });
  int64_t total = 0;
  for (const int64_t i : chosen) total += length_of(i);
  std::vector<std::vector<int64_t>> groups(static_cast<size_t>(ceil_div(total, tokens)));
  std::vector<int64_t> load(groups.size());
  for (const int64_t i : by_length) {
    const auto lightest = static_cast<size_t>(std::min_element(load.begin(), load.end()) - load.begin());
    groups[lightest].push_back(i);
    load[lightest] += length_of(i);
  }
  std::erase_if(groups, [](const auto& group) { return group.empty(); });
  for (auto& group : groups) std::sort(group.begin(), group.end());
  return groups;
}

}  // namespace scalebits
