// SPDX-License-Identifier: Apache-2.0
#include "cli/quantize_job.h"

#include <algorithm>
#include <charconv>

#include "cli/command.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/io/packed_config.h"
#include "scalebits/io/plan_file.h"
#include "scalebits/io/text.h"
#include "scalebits/search/state_file.h"

namespace scalebits::cli {
namespace {

namespace fs = std::filesystem;

BlockSpec parse_block(const std::string& text, int group_size) {
  BlockSpec spec;
  spec.group_size = group_size;
  const char* end = text.data() + text.size();
  const auto rows = std::from_chars(text.data(), end, spec.rows);
  const bool cross = rows.ec == std::errc() && rows.ptr != end && *rows.ptr == 'x';
  const auto cols = cross ? std::from_chars(rows.ptr + 1, end, spec.cols) : rows;
  if (!cross || cols.ec != std::errc() || cols.ptr != end) {
    fail<InvalidArgument>("--block", "got \"{}\", expected ROWSxCOLS, for example 128x128.", text);
  }
  (void)BlockGrid(1, 1, spec);  // throws when the numbers do not fit together
  return spec;
}

/// Whether a packed checkpoint may replace a directory: it holds one, of whatever version, which only this program
/// writes.
bool is_ours(const fs::path& dir) {
  try {
    return read_hf_config(dir).quant_method == kQuantMethod;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

QuantizeJob::QuantizeJob(const QuantizeOptions& options, Log& log) : o_(options), log_(log) {
  search_.method = parse_method(o_.method);
  if (o_.score.empty()) o_.score = is_compensated(o_.quantizer) ? "fisher" : "exact";
  search_.score = parse_score(o_.score);
  search_.compensated = is_compensated(o_.quantizer);
  search_.reorder = parse_reorder(o_.reorder);
  search_.reorder_mode = parse_reorder_mode(o_.reorder_mode);
  (void)parse_tie(o_.tie);
  search_.loss = parse_loss(o_.loss);
  search_.max_iterations = o_.iterations;
  search_.seed = o_.seed;
  search_.guard = !o_.no_guard;
  search_.stats = o_.stats;
  search_.pass.every_expert = o_.all_experts;
  (void)group_quantizer(o_.quantizer);
  config_ = read_hf_config(o_.model);
  if (o_.all_experts && config_.experts.n_experts == 0) {
    fail<InvalidArgument>("--all-experts", "got it for {}, expected a model with experts.", config_.architecture);
  }
  if (!config_.quant_method.empty()) {
    fail<Unsupported>(o_.model,
                      "quantization_config.quant_method: got \"{}\", expected a dense checkpoint to quantize.",
                      config_.quant_method);
  }
  checkpoint_ = open_checkpoint(o_.model, config_);
  if (o_.frontier && search_.method != Method::kSearch) {
    fail<InvalidArgument>("--frontier", "got it with --method {}, expected search: only that walks on.", o_.method);
  }
  if (!o_.plan.empty()) {
    const fs::path file = plan_path(o_.plan);
    if (is_frontier(file)) frontier_ = read_frontier(file);
    plan_ = frontier_ ? frontier_->plan : read_plan(file);
    if (!frontier_ && has_target()) {
      fail<InvalidArgument>("--plan", "{}: got a plan beside a target, expected a frontier. A plan has a size.",
                            o_.plan);
    }
    spec_ = plan_->spec;
    (void)group_quantizer(plan_->quantizer);
  } else {
    spec_ = parse_block(o_.block, o_.group_size);
  }
  find_layers();
  seqlen_ = std::min(o_.seqlen, config_.max_context);
  set_budget();
  if (plan_ && o_.quantizer_given) plan_->quantizer = o_.quantizer;
  work_ = o_.work.empty() ? fs::path(fs::path(o_.output).lexically_normal().string() + ".work") : fs::path(o_.work);
  plan_memory();
}

CalibSet QuantizeJob::calibration() {
  const Tokenizer tokenizer(o_.model);
  const CalibOptions options{o_.nsamples, seqlen_, o_.seed};
  const bool self = o_.calib == "self";
  CalibSet set =
      split_calibration(self ? sample_sequences(checkpoint_, config_, tokenizer, options, log_)
                             : sequences_from_documents(tokenizer, read_documents(o_.calib), options, o_.calib, log_),
                        o_.calib);
  log_.info("calibration   {}: {} + {} held-out sequences of {} tokens{}", o_.calib, set.gradient.size(),
            set.heldout.size(), seqlen_, tokenizer.add_bos() || self ? ", BOS first" : "");
  count_coverage(set);
  if (group_quantizer(quantizer()).weighs_errors()) {
    log_.info("measuring the inputs of the layers");
    set.moments = column_moments(DenseWeights(checkpoint_, config_), layers_, set, search_.slice, o_.all_experts,
                                 search_.pass.activation_bytes);
  }
  return set;
}

std::string QuantizeJob::search_fingerprint(const CalibSet& calib) const {
  return hash_hex(
      fmt::format("{} {} {} {}x{} g{} {} {} {} {} {} {} weighed {} it{} slice{} seed{} ignore{} types{} guard{} "
                  "vocab{}+{} frontier{}{}",
                  fingerprint_, calib.hash, budget_, spec_.rows, spec_.cols, spec_.group_size, o_.method, o_.score,
                  o_.reorder, o_.reorder_mode, o_.tie, o_.quantizer, o_.loss, o_.iterations, search_.slice, o_.seed,
                  fmt::join(o_.ignore, "|"), fmt::join(o_.tensor_type, "|"), search_.guard, layers_.vocab.embed,
                  layers_.vocab.head, fmt::join(search_.frontier, ","), o_.all_experts ? " all-experts" : ""));
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
  search_.stats_fingerprint = hash_hex(fmt::format(
      "{} {} {} {}x{} g{} {} weighed {} {} {}+{} {} ignore{} types{} vocab{}+{}{}", fingerprint_, calib.hash,
      start_bits(layers_, budget_, search_.score), spec_.rows, spec_.cols, spec_.group_size, o_.quantizer, o_.score,
      // Without a reordering, the first sensitivities are already of errors after compensation.
      o_.reorder == "none", o_.loss, search_.slice, search_.fisher_slice,
      search_.method == Method::kThreshold ? "fp" : "start", fmt::join(o_.ignore, "|"), fmt::join(o_.tensor_type, "|"),
      layers_.vocab.embed, layers_.vocab.head, o_.all_experts ? " all-experts" : ""));
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

CompensatedModel QuantizeJob::compensate_plan(const Plan& plan, const CalibSet& calib) {
  fs::create_directories(work_);
  QuantizedLayers layers = layers_;
  for (size_t i = 0; i < plan.linears.size(); ++i) layers.items[i].order = plan.linears[i].order();
  QuantizedWeights weights(std::make_shared<DenseWeights>(checkpoint_, config_, plan.order), std::move(layers),
                           group_quantizer(plan.quantizer), calib.moments);
  if (token_roots_.empty()) {
    log_.info("weighing the tokens of the calibration text");
    std::vector<Sequence> all = calib.gradient;
    all.insert(all.end(), calib.heldout.begin(), calib.heldout.end());
    token_roots_ = root_token_weights(weights, all, search_.pass);
  }
  return compensate(weights, plan, calib, token_roots_, search_.pass, log_);
}

std::vector<PackedMatrix> QuantizeJob::compensated(const Plan& plan, const CalibSet& calib, Json& heldout_kl) {
  const bool known =
      best_ && std::equal(plan.linears.begin(), plan.linears.end(), best_->first.begin(), best_->first.end(),
                          [](const LinearPlan& l, const std::vector<uint8_t>& w) { return l.bits == w; });
  CompensatedModel model = known ? std::move(best_->second) : compensate_plan(plan, calib);
  const bool worse = !plan_ && model.heldout_kl >= heldout_kl.get<double>();
  print_line("compensated   held-out KL {:.5f} nats per token{}", model.heldout_kl,
             worse ? ": worse, so each group is rounded for itself (clip). More calibration text would help" : "");
  if (worse) return {};
  heldout_kl = model.heldout_kl;
  return std::move(model.matrices);
}

Json QuantizeJob::run() {
  if (o_.frontier) return run_frontier();
  if (fs::exists(fs::path(o_.output) / "frontier.json")) {
    fail<InvalidArgument>(o_.output, "holds a frontier, which a packed model does not replace. Choose another name.");
  }
  AtomicDirectory out(o_.output, is_ours(o_.output));  // refuses before any work is done
  fingerprint_ = model_fingerprint(*checkpoint_);
  Json extra = {{"budget_bytes", budget_}};
  Json found = {{"heldout_kl", nullptr}, {"iterations", 0}, {"trace", Json::array()}};
  Plan plan;
  CalibSet calib;
  if (plan_) {
    check_plan_fits(*plan_, config_, fingerprint_);
    plan = *plan_;
    if (group_quantizer(plan.quantizer).weighs_errors()) calib = calibration();
    if (!calib.hash.empty() && calib.hash != plan.calib_hash) {
      log_.warn("the plan was made with other calibration sequences: the packed bytes will differ");
    }
  } else {
    fs::create_directories(work_);
    calib = calibration();
    SearchResult result;
    plan = search(calib, result);
    print_widths(plan);
    found = found_json(result);
    found["score"] = o_.score;
    print_found(result);
    extra["calibration"] = calib.source;
    extra["ignore"] = o_.ignore;
    extra["tensor_type"] = o_.tensor_type;
    extra.update(found);
    if (extra.contains("guard")) extra["guard"].erase("seconds");  // the same plan again is the same file
  }
  Rounding rounding;
  if (is_compensated(plan.quantizer)) {
    rounding.ready = compensated(plan, calib, found["heldout_kl"]);
    extra["heldout_kl"] = found["heldout_kl"];
    // With few tokens the Hessians fit the calibration text and nothing else; no plan says how it would be otherwise.
    if (rounding.ready.empty()) plan.quantizer = "clip";
  }
  if (rounding.ready.empty()) rounding.moments = std::move(calib.moments);
  const PackedSize size = write_packed(checkpoint_, config_, plan, rounding, extra, out.staging(), log_);
  out.commit();
  if (!plan_ && o_.work.empty()) fs::remove_all(work_);
  std::error_code not_empty;  // holds a stopped search, which --plan does not end
  if (plan_ && o_.work.empty()) fs::remove(work_, not_empty);
  print_packed(plan, size);
  Json record = {{"target_bpw", bpw_of(budget_)},           {"bpw", plan.bpw()},
                 {"code_bits", plan.code_bits()},           {"budget_bytes", budget_},
                 {"quantized_bytes", size.quantized_bytes}, {"file_bytes", size.file_bytes},
                 {"histogram", histogram_json(plan)}};
  record.update(vocab_json());
  record.update(found);
  if (!coverage_.is_null()) record["expert_coverage"] = coverage_;
  return record;
}

}  // namespace scalebits::cli
