// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/greedy.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "scalebits/base/interrupt.h"

namespace scalebits {
namespace {

/// Share of the units that may move up in the first batch, and the share below which a batch is not worth a pass.
constexpr double kFirstBatch = 0.10;
constexpr double kLastBatch = 0.002;
constexpr double kLargestBatch = 0.25;
/// The first batch once the budget is used up and every move up must be paid for by one down.
constexpr double kFirstSwap = 0.06;
/// The first batch of a search that goes on from the widths of a smaller budget. A quarter of a bit per weight is then
/// spent in two batches: all of it by one gradient cost 5 % of the loss (bench/log/2026-11-22-frontier.md).
constexpr double kFirstFill = 0.12;
/// The batch after one gradient slice has been used up, and how many slices in a row may be before the search ends.
constexpr double kRestartBatch = 0.02;
constexpr int64_t kMaxStalls = 2;

}  // namespace

Greedy::Greedy(SearchModel& model, const QuantizedLayers& layers, int64_t budget_bytes, const SearchOptions& options,
               Unit unit, int64_t max_iterations, const char* name, Log& log)
    : model_(model),
      layers_(layers),
      budget_(budget_bytes),
      options_(options),
      units_(layers, unit),
      max_iterations_(max_iterations),
      name_(name),
      log_(log) {}

int64_t Greedy::share(double of_units) const {
  return std::max<int64_t>(1, static_cast<int64_t>(of_units * static_cast<double>(units_.count())));
}

GreedyState Greedy::begin(Widths widths) {
  GreedyState state;
  state.widths = std::move(widths);
  model_.apply(state.widths);
  state.heldout = model_.heldout();
  state.batch = share(kFirstBatch);
  log_.info("{}: starts at held-out loss {:.5f} nats with {} bytes", name_, state.heldout,
            widths_bytes(layers_, state.widths));
  return state;
}

void Greedy::go_on(GreedyState& state) const {
  state.batch = share(filling(free_bytes(state.widths)) ? kFirstFill : kFirstSwap);
  state.fresh_gradient = state.iteration;
  state.stalls = 0;
  state.finished = false;
  state.trace.clear();
}

void Greedy::run(GreedyState& state, const std::function<void()>& save) {
  while (!state.finished && state.iteration < max_iterations_) {
    throw_if_stopped();
    log_.progress(name_, state.iteration, max_iterations_);
    if (!step(state)) break;
    save();
  }
  state.finished = true;
  log_.progress(name_, max_iterations_, max_iterations_);
  fill(state);
}

/// One batch, tried and judged. @return false when there is no move left that is predicted to help
bool Greedy::step(GreedyState& state) {
  const auto start = std::chrono::steady_clock::now();
  if (only_spends() && !filling(free_bytes(state.widths))) return false;
  // A dropped batch leaves the widths, and so the gradient, as they were: the model has kept it.
  const PassResult& scores = model_.gradient(state.fresh_gradient);
  const int64_t bytes = widths_bytes(layers_, state.widths);
  const Moves moves = choose(state, scores, budget_ - bytes);
  if (moves.up.empty()) return false;
  TraceEntry entry;
  entry.iteration = state.iteration;
  entry.gradient_loss = scores.loss;
  entry.heldout_before = state.heldout;
  entry.moves_up = static_cast<int64_t>(moves.up.size());
  entry.moves_down = static_cast<int64_t>(moves.down.size());
  entry.predicted_gain = moves.predicted_gain;
  entry.bytes = bytes;
  keep_or_drop(state, moves, entry);
  entry.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  log_.info("{} iteration {:2}: held-out {:.5f} -> {:.5f} {} (+{} -{} units, predicted {:.5f}, {} bytes, {:.1f} s)",
            name_, entry.iteration, entry.heldout_before, entry.heldout_after, entry.accepted ? "kept" : "dropped",
            entry.moves_up, entry.moves_down, entry.predicted_gain, entry.bytes, entry.seconds);
  state.trace.push_back(entry);
  ++state.iteration;
  end_batch(state, entry.accepted);
  return true;
}

/// First the free bytes are spent (all that are left in the last iteration), then bits change places.
Moves Greedy::choose(const GreedyState& state, const PassResult& scores, int64_t free_bytes) const {
  const std::vector<UnitMoves> units = units_.moves(scores, state.widths, options_.score);
  const bool last = state.iteration + 1 == max_iterations_;
  if (filling(free_bytes)) {
    Moves moves = select_moves(units, free_bytes, last ? units_.count() : state.batch, false);
    // What a batch leaves over is not worth another gradient.
    if (only_spends() && !filling(free_bytes - moves.bytes))
      return select_moves(units, free_bytes, units_.count(), false);
    if (!moves.up.empty()) return moves;
  }
  if (only_spends()) return {};
  return select_moves(units, free_bytes, state.batch);
}

void Greedy::keep_or_drop(GreedyState& state, const Moves& moves, TraceEntry& entry) {
  const Widths candidate = units_.moved(state.widths, moves);
  model_.apply(candidate);
  entry.heldout_after = model_.heldout();
  entry.accepted = only_spends() || entry.heldout_after < state.heldout;
  if (!entry.accepted) {
    model_.apply(state.widths);
    state.batch /= 2;
    return;
  }
  const bool filled = filling(budget_ - entry.bytes) && !filling(budget_ - entry.bytes - moves.bytes);
  entry.bytes += moves.bytes;
  state.widths = candidate;
  state.heldout = entry.heldout_after;
  state.batch = std::min(state.batch * 3 / 2, share(kLargestBatch));
  if (filled) state.batch = std::min(state.batch, share(kFirstSwap));
  state.fresh_gradient = state.iteration + 1;
}

void Greedy::end_batch(GreedyState& state, bool accepted) const {
  if (accepted) state.stalls = 0;
  const bool worth_a_pass =
      state.batch >= 1 && static_cast<double>(state.batch) >= kLastBatch * static_cast<double>(units_.count());
  if (worth_a_pass) return;
  // These gradients have nothing left to give; those of the next slice may.
  state.finished = ++state.stalls == kMaxStalls;
  state.batch = share(kRestartBatch);
  state.fresh_gradient = state.iteration;
}

/// Squared gradient times error is never negative, so every unit can be ranked. A round widens every unit that fits
/// once; what did not fit in it will not fit later, so that kMaxBits - 1 rounds are all that there can be.
void Greedy::fill(GreedyState& state) {
  for (int round = 0; round < kMaxBits && free_bytes(state.widths) > budget_ / 200; ++round) {
    std::vector<UnitMoves> units = units_.moves(model_.gradient(state.fresh_gradient), state.widths, Score::kFisher);
    for (UnitMoves& unit : units) unit.gain_up = std::max(unit.gain_up, std::numeric_limits<double>::min());
    const Moves moves = select_moves(units, free_bytes(state.widths), units_.count(), false);
    if (moves.up.empty()) break;
    state.widths = units_.moved(state.widths, moves);
    model_.apply(state.widths);
    const double before = std::exchange(state.heldout, model_.heldout());
    log_.info("{}: filling the budget: held-out {:.5f} -> {:.5f} (+{} units)", name_, before, state.heldout,
              moves.up.size());
  }
}

}  // namespace scalebits
