// SPDX-License-Identifier: Apache-2.0
/// From calibration text to a plan, going on from where a run of the same kind was stopped.
#include <utility>

#include "cli/quantize_job.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/search/state_file.h"

namespace scalebits::cli {
namespace {

namespace fs = std::filesystem;

/// What sensitivities and losses are measured of; to be changed with it, so that what is kept of them is not used
/// again.
constexpr const char* kMeasures = "errors by column moments";

/// Of all parts, each at its place.
template <class... Parts>
std::string fingerprint_of(Parts&&... parts) {
  std::string all;
  ((all += fmt::format("{}\n", std::forward<Parts>(parts))), ...);
  return hash_hex(all);
}

}  // namespace

std::string QuantizeJob::search_fingerprint(const CalibSet& calib) const {
  return fingerprint_of(kMeasures, fingerprint_, calib.hash, budget_, spec_.rows, spec_.cols, spec_.group_size,
                        o_.method, o_.score, o_.reorder, o_.reorder_mode, o_.tie, o_.quantizer, o_.loss, o_.iterations,
                        search_.slice, o_.seed, fmt::join(o_.ignore, "|"), fmt::join(o_.tensor_type, "|"),
                        search_.guard, layers_.vocab.embed, layers_.vocab.head, fmt::join(search_.frontier, ","));
}

std::optional<SearchState> QuantizeJob::resume_state(const std::string& fingerprint) {
  if (o_.resume == "never") return std::nullopt;
  std::string why;
  auto state = load_search_state(work_ / "search.json", layers_, fingerprint, why);
  if (state) return state;
  if (o_.resume == "required") fail<InvalidArgument>("--resume", "required: {}.", why);
  if (fs::exists(work_ / "search.json")) log_.warn("starting afresh: {}", why);
  return std::nullopt;
}

Plan QuantizeJob::search(const CalibSet& calib, SearchResult& result) {
  const std::string fingerprint = search_fingerprint(calib);
  search_.stats_fingerprint =
      fingerprint_of(kMeasures, fingerprint_, calib.hash, start_bits(layers_, budget_, search_.score), spec_.rows,
                     spec_.cols, spec_.group_size, o_.quantizer, o_.score,
                     // Without a reordering, the first sensitivities are already of errors after compensation.
                     o_.reorder == "none", o_.loss, search_.slice, search_.fisher_slice,
                     search_.method == Method::kThreshold ? "fp" : "start", fmt::join(o_.ignore, "|"),
                     fmt::join(o_.tensor_type, "|"), layers_.vocab.embed, layers_.vocab.head);
  const auto state = resume_state(fingerprint);
  if (search_.compensated) {
    search_.written_loss = [&](const FoldedOrder& order, const FusedOrder& fused, const Widths& widths) {
      CompensatedModel model = compensate_plan(plan_of(order, fused, widths, calib), calib);
      const double loss = model.heldout_kl;
      if (!best_ || loss < best_->second.heldout_kl) best_ = {widths, std::move(model)};
      return loss;
    };
  }
  result = search_plan(checkpoint_, config_, layers_, group_quantizer(o_.quantizer), calib, budget_, search_, log_,
                       state ? &*state : nullptr, [&](const SearchState& s) {
                         save_search_state(work_ / "search.json", s, layers_, fingerprint);
                       });
  Plan plan = plan_of(result.order, result.fused, result.widths, calib);
  SCALEBITS_CHECK(plan.bytes() <= budget_);
  return plan;
}

Plan QuantizeJob::plan_of(const FoldedOrder& order, const FusedOrder& fused, const Widths& widths,
                          const CalibSet& calib) const {
  Plan plan = uniform_plan(kMaxBits);
  for (size_t i = 0; i < plan.linears.size(); ++i) plan.linears[i].bits = widths[i];
  for (size_t i = 0; i < fused.size(); ++i) {
    plan.linears[i].row_perm = fused[i].rows;
    plan.linears[i].col_perm = fused[i].cols;
  }
  plan.quantizer = o_.quantizer;
  plan.method = o_.method;
  plan.reorder = o_.reorder;
  plan.reorder_mode = o_.reorder_mode;
  plan.tie = o_.tie;
  plan.model_fingerprint = fingerprint_;
  plan.calib_hash = calib.hash;
  plan.seed = o_.seed;
  plan.order = order;
  return plan;
}

}  // namespace scalebits::cli
