// SPDX-License-Identifier: Apache-2.0
#include "cli/quantize_job.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cli/command.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/base/parallel.h"
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

/// Whether a directory may be replaced: it holds a packed checkpoint, which only this program writes.
bool is_ours(const fs::path& dir) {
  try {
    (void)read_packed_config(dir);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

int64_t parse_size(const std::string& text, const char* flag) {
  static const std::pair<const char*, double> kSuffixes[] = {{"", 1},        {"B", 1},          {"k", 1e3},
                                                             {"K", 1e3},     {"M", 1e6},        {"G", 1e9},
                                                             {"Ki", 1024.0}, {"Mi", 1048576.0}, {"Gi", 1073741824.0}};
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string suffix(rest, text.data() + text.size());
  if (suffix.size() > 1 && suffix.back() == 'B') suffix.pop_back();
  for (const auto& [name, factor] : kSuffixes) {
    const double bytes = value * factor;
    if (error == std::errc() && suffix == name && bytes > 0 && bytes < 9e18) return static_cast<int64_t>(bytes);
  }
  fail<InvalidArgument>(flag, "got \"{}\", expected a size such as 3.2G, 800M or 2.5Gi.", text);
}

QuantizeJob::QuantizeJob(const QuantizeOptions& options, Log& log) : o_(options), log_(log) {
  search_.method = parse_method(o_.method);
  search_.score = parse_score(o_.score);
  search_.reorder = parse_reorder(o_.reorder);
  search_.loss = parse_loss(o_.loss);
  search_.max_iterations = o_.iterations;
  search_.seed = o_.seed;
  search_.guard = !o_.no_guard;
  search_.stats = o_.stats;
  (void)group_quantizer(o_.quantizer);
  config_ = read_hf_config(o_.model);
  if (!config_.quant_method.empty()) {
    fail<Unsupported>(o_.model,
                      "quantization_config.quant_method: got \"{}\", expected a dense checkpoint to quantize.",
                      config_.quant_method);
  }
  checkpoint_ = std::make_shared<Checkpoint>(o_.model);
  if (!o_.plan.empty()) {
    plan_ = read_plan(o_.plan);
    spec_ = plan_->spec;
    (void)group_quantizer(plan_->quantizer);
  } else {
    spec_ = parse_block(o_.block, o_.group_size);
  }
  find_layers();
  seqlen_ = std::min(o_.seqlen, config_.max_context);
  set_budget();
  work_ = o_.work.empty() ? fs::path(fs::path(o_.output).lexically_normal().string() + ".work") : fs::path(o_.work);
  plan_memory();
}

void QuantizeJob::find_layers() {
  if (!plan_) {
    std::vector<TypeRule> rules;
    for (const std::string& text : o_.tensor_type) rules.push_back(parse_type_rule(text));
    layers_ = find_quantized_layers(config_, spec_, o_.ignore, rules);
    return;
  }
  if (!o_.ignore.empty() || !o_.tensor_type.empty()) {
    fail<InvalidArgument>(o_.ignore.empty() ? "--tensor-type" : "--ignore",
                          "got it beside --plan, expected one of the two: a plan already says which layers stay dense "
                          "and how wide the others are.");
  }
  layers_ = find_quantized_layers(config_, spec_);
  std::erase_if(layers_.items, [&](const QuantizedLayers::Item& item) {
    return std::none_of(plan_->linears.begin(), plan_->linears.end(),
                        [&](const LinearPlan& linear) { return linear.name == item.name; });
  });
  if (layers_.items.size() == plan_->linears.size() && !layers_.items.empty()) return;
  fail<FormatError>(o_.plan,
                    "linears: got {} of which {} are linear layers of {}, expected all. Is it another model's?",
                    plan_->linears.size(), layers_.items.size(), o_.model);
}

Plan QuantizeJob::uniform_plan(int bits) const {
  Plan plan;
  plan.spec = spec_;
  for (const auto& item : layers_.items) {
    plan.linears.push_back({item.name,
                            item.grid,
                            std::vector<uint8_t>(static_cast<size_t>(item.grid.n_blocks()),
                                                 static_cast<uint8_t>(item.bits_or_fixed(bits))),
                            {},
                            {}});
  }
  return plan;
}

int64_t QuantizeJob::dense_bytes() const {
  // Headers are taken at their longest, so the file can only be smaller.
  const PackedSize widest = packed_size(*checkpoint_, config_, uniform_plan(kMaxBits));
  return widest.file_bytes - widest.quantized_bytes;
}

void QuantizeJob::set_budget() {
  if (plan_) {
    budget_ = plan_->bytes();
  } else if (!o_.target_size.empty()) {
    const int64_t target = parse_size(o_.target_size, "--target-size");
    budget_ = target - dense_bytes();
    check_reachable(layers_, budget_,
                    fmt::format("--target-size {} less {} bytes that stay dense", o_.target_size, dense_bytes()));
  } else {
    budget_ = budget_from_bpw(layers_, o_.target_bpw);
  }
}

void QuantizeJob::plan_memory() {
  const int64_t slice = std::min(search_.slice, o_.nsamples);
  memory_ = estimate_memory(config_, layers_, o_.nsamples, slice, seqlen_, num_threads());
  if (!o_.max_ram.empty()) {
    const int64_t limit = parse_size(o_.max_ram, "--max-ram");
    if (memory_.fixed_bytes > limit) {
      fail<InvalidArgument>("--max-ram", "got {}, expected at least {} for this model, --nsamples and --seqlen.",
                            o_.max_ram, gigabytes(memory_.fixed_bytes));
    }
    search_.pass.activation_bytes = limit - memory_.fixed_bytes;
  }
  memory_.activation_bytes = memory_.activation_bytes <= search_.pass.activation_bytes ? memory_.activation_bytes : 0;
  search_.pass.spill_dir = work_;
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
  return set;
}

std::string QuantizeJob::search_fingerprint(const CalibSet& calib) const {
  return hash_hex(fmt::format("{} {} {} {}x{} g{} {} {} {} {} {} it{} slice{} seed{} ignore{} types{} guard{}",
                              fingerprint_, calib.hash, budget_, spec_.rows, spec_.cols, spec_.group_size, o_.method,
                              o_.score, o_.reorder, o_.quantizer, o_.loss, o_.iterations, search_.slice, o_.seed,
                              fmt::join(o_.ignore, "|"), fmt::join(o_.tensor_type, "|"), search_.guard));
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
      hash_hex(fmt::format("{} {} {} {}x{} g{} {} {} {} {} ignore{} types{}", fingerprint_, calib.hash,
                           floor_bits(layers_, budget_), spec_.rows, spec_.cols, spec_.group_size, o_.quantizer,
                           o_.loss, search_.slice, search_.method == Method::kThreshold ? "fp" : "floor",
                           fmt::join(o_.ignore, "|"), fmt::join(o_.tensor_type, "|")));
  const auto state = resume_state(fingerprint);
  result = search_plan(checkpoint_, config_, layers_, group_quantizer(o_.quantizer), calib, budget_, search_, log_,
                       state ? &*state : nullptr, [&](const SearchState& s) {
                         save_search_state(work_ / "search.json", s, layers_, fingerprint);
                       });
  Plan plan = uniform_plan(kMaxBits);
  for (size_t i = 0; i < plan.linears.size(); ++i) plan.linears[i].bits = result.widths[i];
  plan.quantizer = o_.quantizer;
  plan.method = o_.method;
  plan.reorder = o_.reorder;
  plan.model_fingerprint = fingerprint_;
  plan.calib_hash = calib.hash;
  plan.seed = o_.seed;
  plan.order = result.order;
  SCALEBITS_CHECK(plan.bytes() <= budget_);
  return plan;
}

Json QuantizeJob::run() {
  AtomicDirectory out(o_.output, is_ours(o_.output));  // refuses before any work is done
  fingerprint_ = model_fingerprint(*checkpoint_);
  Json extra = {{"budget_bytes", budget_}};
  Json found = {{"heldout_kl", nullptr}, {"iterations", 0}, {"trace", Json::array()}};
  Plan plan;
  if (plan_) {
    check_plan_fits(*plan_, config_, fingerprint_);
    plan = *plan_;
  } else {
    fs::create_directories(work_);
    const CalibSet calib = calibration();
    SearchResult result;
    plan = search(calib, result);
    print_widths(plan);
    found = found_json(result);
    print_found(result);
    extra["calibration"] = calib.source;
    extra["ignore"] = o_.ignore;
    extra["tensor_type"] = o_.tensor_type;
    extra.update(found);
    if (extra.contains("guard")) extra["guard"].erase("seconds");  // the same plan again is the same file
  }
  const PackedSize size = write_packed(checkpoint_, config_, plan, extra, out.staging(), log_);
  out.commit();
  if (!plan_ && o_.work.empty()) fs::remove_all(work_);
  print_packed(plan, size);
  Json record = {{"target_bpw", plan_ ? plan.bpw() : bpw_of(budget_)},
                 {"bpw", plan.bpw()},
                 {"code_bits", plan.code_bits()},
                 {"budget_bytes", budget_},
                 {"quantized_bytes", size.quantized_bytes},
                 {"file_bytes", size.file_bytes},
                 {"histogram", histogram_json(plan)}};
  record.update(found);
  return record;
}

}  // namespace scalebits::cli
