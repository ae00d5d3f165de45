// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/guard.h"

#include <algorithm>
#include <chrono>

#include "scalebits/search/greedy.h"

namespace scalebits {
namespace {

/// The search for matrices may take one iteration for so many of the search by blocks. Most of its iterations are kept
/// and need a gradient, so that a third of the iterations would be about half of the time.
constexpr int64_t kIterationsForOne = 4;

}  // namespace

Guarded compare_with_simple_plans(SearchModel& model, const QuantizedLayers& layers, int64_t budget_bytes,
                                  const SearchOptions& options, const Widths& start, SearchState& state,
                                  const std::function<void()>& save, Log& log) {
  const auto began = std::chrono::steady_clock::now();
  if (!state.guard) {
    state.guard.emplace();
    save();  // the search is over, its bytes are filled
  }
  GuardState& guard = *state.guard;
  const double before = guard.seconds;
  const auto save_with_time = [&] {
    guard.seconds = before + std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    save();
  };
  const Widths uniform = two_level_widths(layers, budget_bytes, {});
  if (!guard.uniform) {
    model.apply(uniform);
    guard.uniform = model.heldout();
    log.info("guard: uniform widths have a held-out loss of {:.5f} nats", *guard.uniform);
  }
  const auto done = static_cast<int64_t>(state.trace.size());
  const int64_t iterations = options.score == Score::kFisher ? options.max_iterations  // few are needed
                                                             : (done + kIterationsForOne - 1) / kIterationsForOne;
  Greedy matrices(model, layers, budget_bytes, options, Unit::kMatrix, iterations, "guard", log);
  if (!guard.matrix) {
    guard.matrix = matrices.begin(start);
    save_with_time();
  }
  model.apply(guard.matrix->widths);
  matrices.run(*guard.matrix, save_with_time);
  save_with_time();

  // Whole matrices may leave more bytes over than a block takes, and no plan that is written should.
  GreedyState matrix = *guard.matrix;
  Greedy(model, layers, budget_bytes, options, Unit::kBlock, 0, "guard", log).fill(matrix);

  const Widths* widths[] = {&state.widths, &uniform, &matrix.widths};
  Guarded best;
  best.result.plans = {{"search", state.heldout, widths_bytes(layers, state.widths)},
                       {"uniform", *guard.uniform, widths_bytes(layers, uniform)},
                       {"matrix", matrix.heldout, widths_bytes(layers, matrix.widths)}};
  std::vector<GuardPlan>& plans = best.result.plans;
  for (size_t i = 0; options.written_loss && i < plans.size(); ++i) {
    if (i == guard.written.size()) {
      guard.written.push_back(options.written_loss(state.order, state.fused, *widths[i]));
      log.info("guard: {} as written has a held-out loss of {:.5f} nats", plans[i].method, guard.written[i]);
      save_with_time();
    }
    // Compensation that makes a plan worse is not written.
    plans[i].written_loss =
        options.loss == LossKind::kKl ? std::min(guard.written[i], plans[i].heldout_loss) : guard.written[i];
  }
  const auto least = std::min_element(plans.begin(), plans.end(), [](const GuardPlan& a, const GuardPlan& b) {
    return a.written_loss.value_or(a.heldout_loss) < b.written_loss.value_or(b.heldout_loss);  // the first of equals
  });
  best.result.written = static_cast<size_t>(least - plans.begin());
  best.result.seconds = guard.seconds;
  best.widths = *widths[best.result.written];
  model.apply(best.widths);
  return best;
}

}  // namespace scalebits
