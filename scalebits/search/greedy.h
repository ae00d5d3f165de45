// SPDX-License-Identifier: Apache-2.0
/// The batched greedy: gradients say which units move, held-out text whether they stay moved.
#pragma once

#include <functional>
#include <string>

#include "scalebits/search/search_model.h"
#include "scalebits/search/units.h"

namespace scalebits {

class Greedy {
 public:
  /// Keeps references to all. @param name of this search in the log
  Greedy(SearchModel& model, const QuantizedLayers& layers, int64_t budget_bytes, const SearchOptions& options,
         Unit unit, int64_t max_iterations, const char* name, Log& log);

  /// The state to start from: these widths and their held-out loss.
  GreedyState begin(Widths widths);
  /// Makes `state`, where a search within fewer bytes ended, one to go on from within this budget.
  void go_on(GreedyState& state) const;
  /// Goes on from `state`, whose widths are applied, to the end. Calls `save` after every iteration.
  void run(GreedyState& state, const std::function<void()>& save);
  /// Spends what `state`, whose widths are applied, leaves over: the size that was asked for is the size that is given,
  /// even where held-out text cannot tell that it helps. Afterwards at most 0.5 % of the budget is free, or less than
  /// the smallest step of a unit that may still grow.
  void fill(GreedyState& state);

 private:
  /// Expected gains need no proof by held-out text, and could not have it: that sees each group rounded for itself. Nor
  /// is there an expected harm to trust (bench/log/2026-11-22-expected-gains.md), so bits are spent and never moved.
  [[nodiscard]] bool only_spends() const { return options_.score == Score::kFisher; }
  bool step(GreedyState& state);
  [[nodiscard]] Moves choose(const GreedyState& state, const PassResult& scores, int64_t free_bytes) const;
  void keep_or_drop(GreedyState& state, const Moves& moves, TraceEntry& entry);
  void end_batch(GreedyState& state, bool accepted) const;
  /// That share of the units, at least one.
  [[nodiscard]] int64_t share(double of_units) const;
  [[nodiscard]] int64_t free_bytes(const Widths& widths) const { return budget_ - widths_bytes(layers_, widths); }
  /// More than this is left over: it is spent before bits change places.
  [[nodiscard]] bool filling(int64_t free_bytes) const { return free_bytes > budget_ / 100; }

  SearchModel& model_;
  const QuantizedLayers& layers_;
  int64_t budget_;
  const SearchOptions& options_;
  Units units_;
  int64_t max_iterations_;
  const char* name_;
  Log& log_;
};

}  // namespace scalebits
