// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/search.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/rng.h"
#include "scalebits/calibrate/stats_file.h"

namespace scalebits {
namespace {

/// Share of the units that may move up in the first batch, and the share below which a batch is not worth a pass.
constexpr double kFirstBatch = 0.10;
constexpr double kLastBatch = 0.002;
constexpr double kLargestBatch = 0.25;
/// The first batch once the budget is used up and every move up must be paid for by one down.
constexpr double kFirstSwap = 0.06;
/// The batch after one gradient slice has been used up, and how many slices in a row may be before the search ends.
constexpr double kRestartBatch = 0.02;
constexpr int64_t kMaxStalls = 2;

class Search {
 public:
  Search(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config, const QuantizedLayers& layers,
         const GroupQuantizer& quantizer, const CalibSet& calib, int64_t budget, const SearchOptions& options, Log& log)
      : checkpoint_(checkpoint),
        config_(config),
        layers_(layers),
        quantizer_(quantizer),
        calib_(calib),
        budget_(budget),
        options_(options),
        log_(log) {
    check_reachable(layers, budget, "target");
  }

  SearchResult run(const SearchState* resume, const std::function<void(const SearchState&)>& save) {
    if (resume != nullptr) state_ = *resume;
    const DenseWeights dense(checkpoint_, config_);
    heldout_reference_ = reference_hidden(dense, calib_.heldout);
    if (options_.loss == LossKind::kKl) gradient_reference_ = reference_hidden(dense, calib_.gradient);
    if (resume == nullptr)
      begin(save);
    else
      resume_from(state_);
    if (options_.method == Method::kSearch || options_.method == Method::kMatrix) iterate(save);
    const double kl = options_.loss == LossKind::kKl
                          ? state_.heldout
                          : mean_loss(LossKind::kKl, *weights_, calib_.heldout, heldout_reference_);
    return {state_.order, state_.widths, state_.heldout, kl, widths_bytes(layers_, state_.widths), state_.trace};
  }

 private:
  void open(FoldedOrder order) {
    weights_ = std::make_unique<QuantizedWeights>(
        std::make_shared<DenseWeights>(checkpoint_, config_, std::move(order)), layers_, quantizer_);
  }

  void resume_from(const SearchState& state) {
    open(state.order);
    apply(state.widths);
    log_.info("resuming after iteration {}: held-out loss {:.5f} nats", state.iteration, state.heldout);
  }

  void apply(const Widths& widths) {
    for (size_t i = 0; i < widths.size(); ++i) weights_->set_bits(i, widths[i]);
  }

  double heldout() { return mean_loss(options_.loss, *weights_, calib_.heldout, heldout_reference_); }

  /// Sequences for the gradient of iteration i: a window over the gradient part that moves on each time.
  PassResult gradient(LossKind loss, int64_t iteration) {
    const auto total = static_cast<int64_t>(calib_.gradient.size()), n = std::min(options_.slice, total);
    std::vector<Sequence> sequences;
    std::vector<at::Tensor> reference;
    for (int64_t i = 0; i < n; ++i) {
      const auto k = static_cast<size_t>((iteration * n + i) % total);
      sequences.push_back(calib_.gradient[k]);
      if (loss == LossKind::kKl) reference.push_back(gradient_reference_[k]);
    }
    PassOptions pass = options_.pass;
    pass.loss = loss;
    pass.seed = options_.seed + static_cast<uint64_t>(iteration);
    return gradient_pass(*weights_, sequences, reference, pass);
  }

  /// Orders the channels, then sets the widths to start from.
  void begin(const std::function<void(const SearchState&)>& save) {
    open({});
    const bool threshold = options_.method == Method::kThreshold;
    if (options_.reorder != Reorder::kNone) {
      log_.info("reordering channels");
      if (!threshold) weights_->set_uniform(floor_bits(layers_, budget_));
      const PassResult scores = first_gradient();
      state_.order = folded_order_by_score(*weights_, scores, options_.reorder,
                                           threshold ? ChannelScore::kFisher : ChannelScore::kElement);
      open(state_.order);
    }
    state_.widths = first_widths();
    apply(state_.widths);
    state_.heldout = heldout();
    state_.batch = std::max<int64_t>(1, static_cast<int64_t>(kFirstBatch * static_cast<double>(n_units())));
    log_.info("start: held-out loss {:.5f} nats at {} bytes", state_.heldout, widths_bytes(layers_, state_.widths));
    if (save) save(state_);
  }

  /// Sensitivities in the stored channel order at the floor width (threshold: at full precision): the statistics that
  /// --stats keeps.
  PassResult first_gradient() {
    if (!options_.stats.empty()) {
      if (auto stored = load_stats(options_.stats, layers_, options_.stats_fingerprint)) {
        log_.info("statistics read from {}", options_.stats.string());
        return std::move(*stored);
      }
    }
    PassResult scores = gradient(options_.method == Method::kThreshold ? LossKind::kCe : options_.loss, 0);
    if (!options_.stats.empty()) {
      save_stats(options_.stats, scores, layers_, options_.stats_fingerprint);
      log_.info("statistics written to {}", options_.stats.string());
    }
    return scores;
  }

  Widths first_widths() {
    std::vector<BlockRef> order = all_blocks(layers_);
    switch (options_.method) {
      case Method::kRandom: {
        Rng rng(options_.seed);
        for (size_t i = 0; i + 1 < order.size(); ++i) std::swap(order[i], order[i + rng.below(order.size() - i)]);
        return two_level_widths(layers_, budget_, order);
      }
      case Method::kThreshold: {
        // Mean squared gradient of the cross-entropy at full precision (SFMP, arXiv 2602.01027): widths are 0 here.
        const PassResult scores = options_.reorder == Reorder::kNone ? first_gradient() : gradient(LossKind::kCe, 0);
        const auto salience = [&](const BlockRef& r) {
          const BlockGrid& grid = layers_.items[r.item].grid;
          const Extent rows = grid.rows(r.block / grid.col_blocks()), cols = grid.cols(r.block % grid.col_blocks());
          return scores.linears[r.item].blocks[static_cast<size_t>(r.block)].fisher /
                 static_cast<double>(rows.count * cols.count);
        };
        std::stable_sort(order.begin(), order.end(),
                         [&](const BlockRef& a, const BlockRef& b) { return salience(a) > salience(b); });
        return two_level_widths(layers_, budget_, order);
      }
      case Method::kUniform:
        return two_level_widths(layers_, budget_, order);
      case Method::kSearch:
      case Method::kMatrix:
        break;
    }
    Widths widths;
    for (const auto& item : layers_.items) {
      widths.emplace_back(static_cast<size_t>(item.grid.n_blocks()),
                          static_cast<uint8_t>(floor_bits(layers_, budget_)));
    }
    return widths;
  }

  [[nodiscard]] int64_t n_units() const {
    if (options_.method == Method::kMatrix) return static_cast<int64_t>(layers_.items.size());
    return static_cast<int64_t>(all_blocks(layers_).size());
  }

  /// Moves of every unit at the current widths: a block each, or (method matrix) all blocks of a matrix together.
  std::vector<UnitMoves> units(const PassResult& scores, Score score) const {
    std::vector<UnitMoves> units;
    for (size_t i = 0; i < layers_.items.size(); ++i) {
      UnitMoves sum;
      for (size_t b = 0; b < state_.widths[i].size(); ++b) {
        const UnitMoves m = block_moves(scores.linears[i].blocks[b], score, layers_.items[i].grid,
                                        static_cast<int64_t>(b), state_.widths[i][b]);
        if (options_.method == Method::kSearch) {
          units.push_back(m);
          continue;
        }
        sum.gain_up += m.gain_up;
        sum.harm_down += m.harm_down;
        sum.bytes_up += m.bytes_up;
        sum.bytes_down += m.bytes_down;
      }
      if (options_.method == Method::kMatrix) units.push_back(sum);
    }
    return units;
  }

  [[nodiscard]] Widths moved(const Moves& moves) const {
    Widths widths = state_.widths;
    const std::vector<BlockRef> blocks = all_blocks(layers_);
    const auto change = [&](int64_t unit, int by) {
      if (options_.method == Method::kMatrix) {
        for (uint8_t& b : widths[static_cast<size_t>(unit)]) b = static_cast<uint8_t>(b + by);
      } else {
        const BlockRef& ref = blocks[static_cast<size_t>(unit)];
        uint8_t& b = widths[ref.item][static_cast<size_t>(ref.block)];
        b = static_cast<uint8_t>(b + by);
      }
    };
    for (const int64_t u : moves.up) change(u, 1);
    for (const int64_t d : moves.down) change(d, -1);
    return widths;
  }

  PassResult gradient_at(int64_t iteration) {
    if (iteration == 0 && options_.reorder == Reorder::kNone) return first_gradient();
    return gradient(options_.loss, iteration);
  }

  void iterate(const std::function<void(const SearchState&)>& save) {
    const auto n = static_cast<double>(n_units());
    PassResult scores;
    bool fresh = false;
    while (!state_.finished && state_.iteration < options_.max_iterations) {
      throw_if_stopped();
      log_.progress("search", state_.iteration, options_.max_iterations);
      const auto start = std::chrono::steady_clock::now();
      // A dropped batch leaves the widths, and so the gradient, as they were.
      if (!fresh) scores = gradient_at(state_.fresh_gradient);
      fresh = true;
      const int64_t bytes = widths_bytes(layers_, state_.widths);
      // First the free bytes are spent (all that are left in the last iteration), then bits change places.
      const bool filling = budget_ - bytes > budget_ / 100;
      const bool last = state_.iteration + 1 == options_.max_iterations;
      Moves moves;
      if (filling)
        moves = select_moves(units(scores, options_.score), budget_ - bytes, last ? n_units() : state_.batch, false);
      if (moves.up.empty()) moves = select_moves(units(scores, options_.score), budget_ - bytes, state_.batch);
      if (moves.up.empty()) break;
      const Widths candidate = moved(moves);
      apply(candidate);
      const double after = heldout();
      const bool accepted = after < state_.heldout;
      TraceEntry entry{state_.iteration,
                       scores.loss,
                       state_.heldout,
                       after,
                       static_cast<int64_t>(moves.up.size()),
                       static_cast<int64_t>(moves.down.size()),
                       moves.predicted_gain,
                       accepted,
                       bytes,
                       0.0};
      if (accepted) {
        state_.widths = candidate;
        state_.heldout = after;
        entry.bytes = bytes + moves.bytes;
        const bool filled = filling && budget_ - entry.bytes <= budget_ / 100;
        state_.batch = std::min(state_.batch * 3 / 2, std::max<int64_t>(1, static_cast<int64_t>(kLargestBatch * n)));
        if (filled) state_.batch = std::min(state_.batch, std::max<int64_t>(1, static_cast<int64_t>(kFirstSwap * n)));
        fresh = false;
        state_.fresh_gradient = state_.iteration + 1;
      } else {
        apply(state_.widths);
        state_.batch /= 2;
      }
      entry.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      log_.info("iteration {:2}: held-out {:.5f} -> {:.5f} {} (+{} -{} units, predicted {:.5f}, {} bytes, {:.1f} s)",
                entry.iteration, entry.heldout_before, after, accepted ? "kept" : "dropped", entry.moves_up,
                entry.moves_down, moves.predicted_gain, entry.bytes, entry.seconds);
      state_.trace.push_back(entry);
      ++state_.iteration;
      if (accepted) state_.stalls = 0;
      if (static_cast<double>(state_.batch) < kLastBatch * n || state_.batch < 1) {
        // These gradients have nothing left to give; those of the next slice may.
        state_.finished = ++state_.stalls == kMaxStalls;
        state_.batch = std::max<int64_t>(1, static_cast<int64_t>(kRestartBatch * n));
        state_.fresh_gradient = state_.iteration;
        fresh = false;
      }
      if (save) save(state_);
    }
    state_.finished = true;
    log_.progress("search", options_.max_iterations, options_.max_iterations);
    fill();
  }

  /// Spends what the search left over: the size that was asked for is the size that is given, even where held-out text
  /// cannot tell that it helps. Squared gradient times error is never negative, so every block can be ranked.
  void fill() {
    for (int round = 0; round < kMaxBits && budget_ - widths_bytes(layers_, state_.widths) > budget_ / 200; ++round) {
      const PassResult scores = gradient_at(state_.fresh_gradient);
      std::vector<UnitMoves> moves_of = units(scores, Score::kFisher);
      for (UnitMoves& unit : moves_of) unit.gain_up = std::max(unit.gain_up, std::numeric_limits<double>::min());
      const Moves moves = select_moves(moves_of, budget_ - widths_bytes(layers_, state_.widths), n_units(), false);
      if (moves.up.empty()) break;
      state_.widths = moved(moves);
      apply(state_.widths);
      const double before = std::exchange(state_.heldout, heldout());
      log_.info("filling the budget: held-out {:.5f} -> {:.5f} (+{} units)", before, state_.heldout, moves.up.size());
    }
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  const ModelConfig& config_;
  const QuantizedLayers& layers_;
  const GroupQuantizer& quantizer_;
  const CalibSet& calib_;
  int64_t budget_;
  const SearchOptions& options_;
  Log& log_;
  std::vector<at::Tensor> gradient_reference_, heldout_reference_;
  std::unique_ptr<QuantizedWeights> weights_;
  SearchState state_;
};

}  // namespace

SearchResult search_plan(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config,
                         const QuantizedLayers& layers, const GroupQuantizer& quantizer, const CalibSet& calib,
                         int64_t budget_bytes, const SearchOptions& options, Log& log, const SearchState* resume,
                         const std::function<void(const SearchState&)>& save) {
  return Search(checkpoint, config, layers, quantizer, calib, budget_bytes, options, log).run(resume, save);
}

}  // namespace scalebits
