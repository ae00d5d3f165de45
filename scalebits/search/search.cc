// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/search.h"

#include <algorithm>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "scalebits/search/frontier.h"
#include "scalebits/search/greedy.h"
#include "scalebits/search/guard.h"

namespace scalebits {
namespace {

Widths full_precision(const QuantizedLayers& layers) {
  Widths widths;
  for (const auto& item : layers.items) widths.emplace_back(static_cast<size_t>(item.grid.n_blocks()), uint8_t{0});
  return widths;
}

class Search {
 public:
  Search(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config, const QuantizedLayers& layers,
         const GroupQuantizer& quantizer, const CalibSet& calib, int64_t budget, const SearchOptions& options, Log& log)
      : layers_(layers),
        budget_(budget),
        options_(options),
        log_(log),
        // Squared gradients of method threshold are taken at full precision.
        start_(options.method == Method::kThreshold
                   ? full_precision(layers)
                   : uniform_widths(layers, start_bits(layers, budget, options.score))),
        model_(checkpoint, config, layers, quantizer, calib, options, start_, log) {}

  SearchResult run(const SearchState* resume, const std::function<void(const SearchState&)>& save) {
    const auto saved = [&] {
      if (save) save(state_);
    };
    if (resume == nullptr) {
      begin();
      saved();
    } else {
      resume_from(*resume);
    }
    if (!options_.frontier.empty()) return walk(saved);
    if (searches() && !state_.guard) greedy().run(state_, saved);
    SearchResult result;
    result.order = state_.order;
    result.fused = state_.fused;
    result.widths = state_.widths;
    result.heldout_loss = state_.heldout;
    result.trace = state_.trace;
    if (options_.method == Method::kSearch && options_.guard) {
      Guarded best = compare_with_simple_plans(model_, layers_, budget_, options_, start_, state_, saved, log_);
      result.widths = std::move(best.widths);
      result.heldout_loss = best.result.plans[best.result.written].heldout_loss;
      result.guard = std::move(best.result);
    }
    result.heldout_kl = options_.loss == LossKind::kKl ? result.heldout_loss : model_.heldout_kl();
    result.bytes = widths_bytes(layers_, result.widths);
    if (searches()) result.certificate = certificate();
    return result;
  }

 private:
  [[nodiscard]] bool searches() const {
    return options_.method == Method::kSearch || options_.method == Method::kMatrix;
  }
  [[nodiscard]] Unit unit() const { return options_.method == Method::kMatrix ? Unit::kMatrix : Unit::kBlock; }

  Greedy greedy() { return {model_, layers_, budget_, options_, unit(), options_.max_iterations, "search", log_}; }

  SearchResult walk(const std::function<void()>& save) {
    walk_frontier(model_, layers_, options_, state_, save, log_);
    const FrontierPoint& first = state_.frontier.front();
    SearchResult result;
    result.order = state_.order;
    result.widths = first.widths;
    result.heldout_loss = first.heldout_loss;
    result.heldout_kl = first.heldout_kl;
    result.bytes = first.bytes;
    result.trace = first.trace;
    result.certificate = first.certificate;
    result.frontier = state_.frontier;
    return result;
  }

  /// Of the applied widths, on the gradient slice that is next in turn: the last choices were not made on it.
  Certificate certificate() {
    const Widths& widths = model_.widths();
    return certify(Units(layers_, unit()).moves(model_.gradient(state_.iteration), widths, options_.score),
                   budget_ - widths_bytes(layers_, widths));
  }

  void resume_from(const SearchState& state) {
    state_ = state;
    model_.open(state_.order, state_.fused);
    prepare();
    model_.apply(state_.widths);
    log_.info("resuming after iteration {}: held-out loss {:.5f} nats", state_.iteration, state_.heldout);
  }

  /// Orders the channels, then sets the widths to start from.
  void begin() {
    FoldedOrder folded;
    FusedOrder fused;
    model_.open({});
    if (options_.reorder != Reorder::kNone) {
      log_.info("reordering channels");
      model_.apply(start_);
      const ChannelScore kind = options_.method == Method::kThreshold ? ChannelScore::kFisher : ChannelScore::kElement;
      const PassResult& scores = model_.gradient(0);
      if (options_.reorder_mode == ReorderMode::kFused) {
        fused = fused_order_by_score(layers_, scores, kind);
      } else {
        folded = folded_order_by_score(model_.weights(), scores, options_.reorder, kind);
      }
      model_.open(folded, fused);
    }
    prepare();
    static_cast<GreedyState&>(state_) = greedy().begin(first_widths());
    state_.order = std::move(folded);
    state_.fused = std::move(fused);
  }

  /// Once the channels have their order.
  void prepare() {
    if (searches() && options_.compensated && options_.score == Score::kFisher) model_.expect_compensation();
  }

  Widths first_widths() {
    switch (options_.method) {
      case Method::kRandom:
        return random_widths();
      case Method::kThreshold:
        return threshold_widths();
      case Method::kUniform:
        return two_level_widths(layers_, budget_, {});
      case Method::kSearch:
      case Method::kMatrix:
        break;
    }
    return start_;
  }

  [[nodiscard]] Widths random_widths() const {
    std::vector<BlockRef> order = all_blocks(layers_);
    Rng rng(options_.seed);
    for (size_t i = 0; i + 1 < order.size(); ++i) std::swap(order[i], order[i + rng.below(order.size() - i)]);
    return two_level_widths(layers_, budget_, order);
  }

  /// By the mean squared gradient of the cross-entropy at full precision (SFMP, arXiv 2602.01027).
  Widths threshold_widths() {
    model_.apply(start_);
    const PassResult& scores = model_.gradient(0);
    const auto salience = [&](const BlockRef& r) {
      const BlockGrid& grid = layers_.items[r.item].grid;
      const Extent rows = grid.rows(r.block / grid.col_blocks()), cols = grid.cols(r.block % grid.col_blocks());
      return scores.linears[r.item].blocks[static_cast<size_t>(r.block)].fisher /
             static_cast<double>(rows.count * cols.count);
    };
    std::vector<BlockRef> order = all_blocks(layers_);
    std::stable_sort(order.begin(), order.end(),
                     [&](const BlockRef& a, const BlockRef& b) { return salience(a) > salience(b); });
    return two_level_widths(layers_, budget_, order);
  }

  const QuantizedLayers& layers_;
  int64_t budget_;
  const SearchOptions& options_;
  Log& log_;
  const Widths start_;
  SearchModel model_;
  SearchState state_;
};

}  // namespace

int start_bits(const QuantizedLayers& layers, int64_t budget_bytes, Score score) {
  const int floor = floor_bits(layers, budget_bytes);
  return score == Score::kFisher && floor > 2 ? floor - 1 : floor;
}

SearchResult search_plan(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config,
                         const QuantizedLayers& layers, const GroupQuantizer& quantizer, const CalibSet& calib,
                         int64_t budget_bytes, const SearchOptions& options, Log& log, const SearchState* resume,
                         const std::function<void(const SearchState&)>& save) {
  check_reachable(layers, budget_bytes, "target");
  if (!options.frontier.empty()) {
    SCALEBITS_CHECK(options.method == Method::kSearch && options.frontier.front() == budget_bytes);
    SCALEBITS_CHECK(std::is_sorted(options.frontier.begin(), options.frontier.end(), std::less_equal<>()));
    check_reachable(layers, options.frontier.back(), "last target");
  }
  return Search(checkpoint, config, layers, quantizer, calib, budget_bytes, options, log).run(resume, save);
}

}  // namespace scalebits
