// SPDX-License-Identifier: Apache-2.0
/// What quantize works on, before any work is done: the layers, their bytes and the memory that it takes.
#include <algorithm>
#include <charconv>

#include "cli/quantize_job.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"

namespace scalebits::cli {

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

VocabBits QuantizeJob::asked_vocab_bits() const {
  for (const auto& [flag, bits] : {std::pair{"--embed-bits", o_.embed_bits}, {"--head-bits", o_.head_bits}}) {
    if (bits && !is_vocab_width(*bits)) {
      fail<InvalidArgument>(flag, "got {}, expected 2 to 8, or {} to leave it as stored.", *bits, kDenseBits);
    }
  }
  if (!config_.tied_embeddings) return {o_.embed_bits.value_or(kDenseBits), o_.head_bits.value_or(kDenseBits)};
  if (o_.embed_bits && o_.head_bits && *o_.embed_bits != *o_.head_bits) {
    fail<InvalidArgument>("--head-bits",
                          "got {} beside --embed-bits {}, expected the same: this model's head is its embedding "
                          "(tie_word_embeddings). Either flag alone sets both.",
                          *o_.head_bits, *o_.embed_bits);
  }
  const int both = o_.embed_bits ? *o_.embed_bits : o_.head_bits.value_or(kDenseBits);
  return {both, both};
}

void QuantizeJob::find_layers() {
  if (!plan_) {
    std::vector<TypeRule> rules;
    for (const std::string& text : o_.tensor_type) rules.push_back(parse_type_rule(text));
    layers_ = find_quantized_layers(config_, spec_, o_.ignore, rules);
    layers_.vocab = asked_vocab_bits();
    if (search_.reorder_mode == ReorderMode::kFused) {
      const Reorder reorder = search_.reorder;
      reserve_orders(layers_, reorder == Reorder::kRows || reorder == Reorder::kBoth,
                     reorder == Reorder::kCols || reorder == Reorder::kBoth, parse_tie(o_.tie));
    }
    return;
  }
  if (o_.embed_bits || o_.head_bits) {
    fail<InvalidArgument>(o_.embed_bits ? "--embed-bits" : "--head-bits",
                          "got it beside --plan, expected one of the two: a plan already says how wide they are.");
  }
  if (!o_.ignore.empty() || !o_.tensor_type.empty()) {
    fail<InvalidArgument>(o_.ignore.empty() ? "--tensor-type" : "--ignore",
                          "got it beside --plan, expected one of the two: a plan already says which layers stay dense "
                          "and how wide the others are.");
  }
  layers_ = find_quantized_layers(config_, spec_);
  layers_.vocab = plan_->vocab;
  std::erase_if(layers_.items, [&](const QuantizedLayers::Item& item) {
    return std::none_of(plan_->linears.begin(), plan_->linears.end(),
                        [&](const LinearPlan& linear) { return linear.name == item.name; });
  });
  if (layers_.items.size() != plan_->linears.size() || layers_.items.empty()) {
    fail<FormatError>(o_.plan,
                      "linears: got {} of which {} are linear layers of {}, expected all. Is it another model's?",
                      plan_->linears.size(), layers_.items.size(), o_.model);
  }
  for (size_t i = 0; i < layers_.items.size(); ++i) {
    QuantizedLayers::Item& item = layers_.items[i];
    const LinearPlan& linear = plan_->linears[i];
    if (linear.name != item.name) {
      fail<FormatError>(o_.plan, "linears[{}]: got {}, expected {}: the layers' own order.", i, linear.name, item.name);
    }
    item.order = linear.order();
    item.shares_cols = linear.shares_cols;
  }
}

Plan QuantizeJob::uniform_plan(int bits) const {
  Plan plan;
  plan.spec = spec_;
  plan.vocab = layers_.vocab;
  for (const auto& item : layers_.items) {
    plan.linears.push_back({item.name, item.grid,
                            std::vector<uint8_t>(static_cast<size_t>(item.grid.n_blocks()),
                                                 static_cast<uint8_t>(item.bits_or_fixed(bits))),
                            item.order.rows, item.order.cols, item.shares_cols});
  }
  return plan;
}

PackedSize QuantizeJob::widest_size() const { return packed_size(*checkpoint_, config_, uniform_plan(kMaxBits)); }

int64_t QuantizeJob::dense_bytes() const {
  const PackedSize widest = widest_size();
  return widest.file_bytes - widest.quantized_bytes;
}

int64_t QuantizeJob::target_bytes() const {
  if (o_.target_size.empty()) return bytes_from_bpw(layers_, o_.target_bpw, "--target-bpw");
  return parse_size(o_.target_size, "--target-size") - dense_bytes();
}

void QuantizeJob::set_budget() {
  if (frontier_) {
    cut();
  } else if (plan_) {
    budget_ = plan_->bytes();
  } else if (o_.frontier) {
    set_frontier();
  } else {
    budget_ = target_bytes();
    check_reachable(layers_, budget_,
                    o_.target_size.empty() ? fmt::format("--target-bpw {}", o_.target_bpw)
                                           : fmt::format("--target-size {} less {} bytes for all but the linear layers",
                                                         o_.target_size, dense_bytes()));
  }
}

void QuantizeJob::plan_memory() {
  const int64_t slice = std::min(search_.slice, o_.nsamples);
  memory_ = estimate_memory(config_, layers_, o_.nsamples, slice, seqlen_, num_threads(),
                            !o_.frontier && is_compensated(quantizer()) ? budget_ : 0, o_.all_experts);
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

}  // namespace scalebits::cli
