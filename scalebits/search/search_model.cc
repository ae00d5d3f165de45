// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/search_model.h"

#include <algorithm>
#include <utility>

#include "scalebits/calibrate/hessian.h"
#include "scalebits/calibrate/stats_file.h"

namespace scalebits {

SearchModel::SearchModel(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config,
                         const QuantizedLayers& layers, const GroupQuantizer& quantizer, const CalibSet& calib,
                         const SearchOptions& options, Widths start, Log& log)
    : checkpoint_(checkpoint),
      config_(config),
      layers_(layers),
      quantizer_(quantizer),
      calib_(calib),
      options_(options),
      start_(std::move(start)),
      log_(log) {
  const DenseWeights dense(checkpoint_, config_);
  heldout_reference_ = reference_hidden(dense, calib_.heldout);
  if (gradient_loss() == LossKind::kKl) gradient_reference_ = reference_hidden(dense, calib_.gradient);
}

void SearchModel::open(FoldedOrder order, const FusedOrder& fused) {
  stored_order_ = order == FoldedOrder{} && fused.empty();
  first_.reset();
  latest_.reset();
  column_shares_.clear();
  weights_ = std::make_unique<QuantizedWeights>(std::make_shared<DenseWeights>(checkpoint_, config_, std::move(order)),
                                                with_orders(layers_, fused), quantizer_, calib_.moments);
}

void SearchModel::expect_compensation() {
  const size_t n = std::min(static_cast<size_t>(options_.slice), calib_.gradient.size());
  column_shares_ = column_shares(*weights_, std::span(calib_.gradient).first(n), options_.pass, log_);
  first_.reset();
  latest_.reset();
}

void SearchModel::apply(const Widths& widths) {
  for (size_t i = 0; i < widths.size(); ++i) weights_->set_bits(i, widths[i]);
  widths_ = widths;
}

double SearchModel::heldout() const { return mean_loss(options_.loss, *weights_, calib_.heldout, heldout_reference_); }

double SearchModel::heldout_kl() const {
  return mean_loss(LossKind::kKl, *weights_, calib_.heldout, heldout_reference_);
}

const PassResult& SearchModel::gradient(int64_t index) {
  for (const auto* kept : {&first_, &latest_}) {
    if (*kept && (*kept)->index == index && (*kept)->widths == widths_) return (*kept)->scores;
  }
  std::optional<Gradient>& slot = first_ ? latest_ : first_;
  slot.reset();  // frees the old one first
  slot = Gradient{index, widths_, measure_or_load(index)};
  return slot->scores;
}

PassResult SearchModel::measure_or_load(int64_t index) const {
  const bool kept_in_file = !options_.stats.empty() && index == 0 && stored_order_ && widths_ == start_;
  if (!kept_in_file) return measure(index);
  if (auto stored = load_stats(options_.stats, layers_, options_.stats_fingerprint)) {
    log_.info("statistics read from {}", options_.stats.string());
    return std::move(*stored);
  }
  PassResult scores = measure(index);
  save_stats(options_.stats, scores, layers_, options_.stats_fingerprint);
  log_.info("statistics written to {}", options_.stats.string());
  return scores;
}

LossKind SearchModel::gradient_loss() const {
  if (options_.method == Method::kThreshold) return LossKind::kCe;
  return options_.score == Score::kFisher ? LossKind::kSampled : options_.loss;
}

PassResult SearchModel::measure(int64_t index) const {
  const auto total = static_cast<int64_t>(calib_.gradient.size()), n = std::min(options_.slice, total);
  PassOptions pass = options_.pass;
  pass.loss = gradient_loss();
  pass.seed = options_.seed + static_cast<uint64_t>(index);
  std::vector<Sequence> sequences;
  std::vector<at::Tensor> reference;
  for (int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<size_t>((index * n + i) % total);
    sequences.push_back(calib_.gradient[k]);
    if (pass.loss == LossKind::kKl) reference.push_back(gradient_reference_[k]);
  }
  if (!column_shares_.empty()) pass.column_shares = &column_shares_;
  // Compensation leaves a model that is nearer to full precision than these widths rounded alone.
  pass.full_precision = pass.loss == LossKind::kSampled;
  // A threshold and expected gains are on the squared gradient itself.
  if (options_.method == Method::kThreshold || pass.loss == LossKind::kSampled) {
    return gradient_pass(*weights_, sequences, reference, pass);
  }
  return sensitivity_pass(*weights_, sequences, reference, pass, options_.fisher_slice);
}

}  // namespace scalebits
