// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/frontier.h"

#include <algorithm>
#include <numeric>

#include "scalebits/search/greedy.h"

namespace scalebits {
namespace {

/// Iterations of all points together, in those that one search may take. More of them than of a search's need a new
/// gradient, so that this is about twice the time of one (bench/log/2026-11-22-frontier.md).
constexpr double kAllIterations = 1.6;

/// Writes 8 .. 1 into the ranks of the blocks `order`, best first, an eighth of them each.
void write_eighths(const std::vector<uint8_t*>& order) {
  for (size_t i = 0; i < order.size(); ++i) *order[i] = static_cast<uint8_t>(8 - 8 * i / order.size());
}

class Walk {
 public:
  Walk(SearchModel& model, const QuantizedLayers& layers, const SearchOptions& options, SearchState& state,
       const std::function<void()>& save, Log& log)
      : model_(model),
        layers_(layers),
        options_(options),
        state_(state),
        save_(save),
        log_(log),
        units_(layers, Unit::kBlock) {}

  void run() {
    while (state_.frontier.size() < options_.frontier.size()) next_point();
    (void)moves_above_last();
  }

 private:
  void next_point() {
    const size_t k = state_.frontier.size();
    // Of the point below, before anything moves. A run that goes on in the middle measures the same gradient again.
    const std::vector<UnitMoves> moves = k == 0 ? std::vector<UnitMoves>{} : moves_above_last();
    model_.apply(state_.widths);
    Greedy greedy(model_, layers_, options_.frontier[k], options_, Unit::kBlock, iterations_before(k) + iterations(k),
                  "frontier", log_);
    if (k > 0 && state_.trace.empty()) {
      if (starts_afresh(k)) {
        const int64_t iteration = state_.iteration;
        static_cast<GreedyState&>(state_) =
            greedy.begin(uniform_widths(layers_, start_bits(layers_, options_.frontier[k], options_.score)));
        state_.iteration = state_.fresh_gradient = iteration;
      } else {
        greedy.go_on(state_);
      }
    }
    greedy.run(state_, save_);

    FrontierPoint point;
    point.budget_bytes = options_.frontier[k];
    point.bytes = widths_bytes(layers_, state_.widths);
    point.widths = state_.widths;
    if (k > 0) point.rank = rank_moves(state_.frontier.back().widths, point.widths, moves);
    point.heldout_loss = state_.heldout;
    point.heldout_kl = options_.loss == LossKind::kKl ? state_.heldout : model_.heldout_kl();
    point.trace = std::move(state_.trace);
    log_.info("frontier: {} of {}: held-out loss {:.5f} nats with {} bytes", k + 1, options_.frontier.size(),
              point.heldout_loss, point.bytes);
    state_.frontier.push_back(std::move(point));
    state_.trace.clear();
    save_();
  }

  /// Bits that are only spent never leave a block, and blocks that a lower start widened for little would be missed:
  /// each start is begun for itself, as by a search for that budget.
  [[nodiscard]] bool starts_afresh(size_t k) const {
    return options_.score == Score::kFisher && start_bits(layers_, options_.frontier[k], options_.score) >
                                                   start_bits(layers_, options_.frontier[k - 1], options_.score);
  }

  /// Moves of every block at the last finished point, on the gradient slice that comes next: its choices were not made
  /// on it, so they also certify it; and the next point begins with it, so that it costs nothing.
  std::vector<UnitMoves> moves_above_last() {
    FrontierPoint& last = state_.frontier.back();
    model_.apply(last.widths);
    std::vector<UnitMoves> moves =
        units_.moves(model_.gradient(iterations_before(state_.frontier.size())), last.widths, options_.score);
    last.certificate = certify(moves, last.budget_bytes - last.bytes);
    return moves;
  }

  /// What is left of all iterations, shared by the points that are left.
  [[nodiscard]] int64_t iterations(size_t point) const {
    if (point == 0) return options_.max_iterations;
    const auto all = static_cast<int64_t>(kAllIterations * static_cast<double>(options_.max_iterations));
    const auto points_left = static_cast<int64_t>(options_.frontier.size() - point);
    return std::clamp<int64_t>((all - iterations_before(point)) / points_left, 1,
                               std::max<int64_t>(1, options_.max_iterations));
  }
  [[nodiscard]] int64_t iterations_before(size_t point) const {
    int64_t n = 0;
    for (size_t i = 0; i < point; ++i) n += static_cast<int64_t>(state_.frontier[i].trace.size());
    return n;
  }

  SearchModel& model_;
  const QuantizedLayers& layers_;
  const SearchOptions& options_;
  SearchState& state_;
  const std::function<void()>& save_;
  Log& log_;
  Units units_;
};

}  // namespace

void walk_frontier(SearchModel& model, const QuantizedLayers& layers, const SearchOptions& options, SearchState& state,
                   const std::function<void()>& save, Log& log) {
  Walk(model, layers, options, state, save, log).run();
}

Widths rank_moves(const Widths& lower, const Widths& upper, std::span<const UnitMoves> units) {
  Widths rank;
  for (const auto& of_item : upper) rank.emplace_back(of_item.size(), uint8_t{1});
  struct Difference {
    double per_byte = 0;
    uint8_t* rank = nullptr;
  };
  std::vector<Difference> ups, downs;
  size_t unit = 0;
  for (size_t i = 0; i < upper.size(); ++i) {
    for (size_t b = 0; b < upper[i].size(); ++b, ++unit) {
      const UnitMoves& m = units[unit];
      if (upper[i][b] > lower[i][b]) ups.push_back({-m.gain_up / static_cast<double>(m.bytes_up), &rank[i][b]});
      if (upper[i][b] < lower[i][b]) downs.push_back({m.harm_down / static_cast<double>(m.bytes_down), &rank[i][b]});
    }
  }
  for (auto* differences : {&ups, &downs}) {
    std::stable_sort(differences->begin(), differences->end(),
                     [](const Difference& a, const Difference& b) { return a.per_byte < b.per_byte; });
    std::vector<uint8_t*> order;
    for (const Difference& d : *differences) order.push_back(d.rank);
    write_eighths(order);
  }
  return rank;
}

}  // namespace scalebits
