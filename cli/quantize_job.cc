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

/// Name of the calibration text that a plan or a frontier was made with; empty where it does not say.
std::string calibration_of(const fs::path& plan) {
  const Json json = read_json(plan);
  const auto found = json.find("calibration");
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
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
  // Which tokens an expert counts changes all that is measured.
  if (o_.all_experts) set.hash = hash_hex(set.hash + " all experts");
  count_coverage(set);
  if (group_quantizer(quantizer()).weighs_errors()) {
    log_.info("measuring the inputs of the layers");
    set.moments =
        column_moments(DenseWeights(checkpoint_, config_), layers_, set, o_.all_experts, search_.pass.activation_bytes);
  }
  return set;
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
    if (group_quantizer(plan.quantizer).weighs_errors()) {
      const std::string source = calibration_of(plan_path(o_.plan));
      if (!source.empty() && fs::path(source).filename() != fs::path(o_.calib).filename()) {
        // Before what may take long; the file is another's.
        log_.warn("--calib: got {}, the plan was made with {}", quote(o_.calib), quote(source));
      }
      calib = calibration();
      if (calib.hash != plan.calib_hash) {
        log_.warn("the plan was made with other calibration sequences: the packed bytes will differ");
      }
      plan.calib_hash = calib.hash;
      extra["calibration"] = calib.source;
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
  rounding.moments = std::move(calib.moments);
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
