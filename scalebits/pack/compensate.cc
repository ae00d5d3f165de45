// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/compensate.h"

#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/base/heap.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/activation_store.h"
#include "scalebits/calibrate/hessian.h"
#include "scalebits/pack/gptq.h"

namespace scalebits {
namespace {

/// Sequences of one backward pass, as in the search.
constexpr int64_t kSlice = 24;

class Compensation {
 public:
  Compensation(const QuantizedWeights& weights, const Plan& plan, const CalibSet& calib, const PassOptions& pass,
               Log& log)
      : weights_(weights),
        config_(weights.config()),
        plan_(plan),
        calib_(calib),
        pass_(pass),
        log_(log),
        length_(std::max(longest(calib.gradient), longest(calib.heldout))),
        rope_(config_, length_),
        states_(n_all(), length_ * config_.d_model * 4, pass.activation_bytes, pass.spill_dir) {}

  CompensatedModel run() {
    const DenseWeights dense(weights_.shared_checkpoint(), config_);
    const std::vector<at::Tensor> reference = reference_hidden(dense, calib_.heldout);
    weigh_tokens();
    CompensatedModel model;
    model.matrices.resize(plan_.linears.size());
    parallel_for(n_all(), [&](int64_t s) { states_.put(s, weights_.embed(sequence(s))); });
    for (int64_t l = 0; l < config_.n_layers; ++l) {
      throw_if_stopped();
      log_.progress("rounding layers", l, config_.n_layers);
      const DecoderLayer rounded = round_layer(l, model);
      parallel_for(n_all(), [&](int64_t s) {
        const at::NoGradGuard no_grad;
        states_.put(s, decoder_layer_forward(config_, rounded, rope_, states_.get(s), 0, nullptr, nullptr));
      });
      release_free_heap();
    }
    log_.progress("rounding layers", config_.n_layers, config_.n_layers);
    model.heldout_kl = heldout_kl(reference);
    return model;
  }

 private:
  [[nodiscard]] int64_t n_gradient() const { return static_cast<int64_t>(calib_.gradient.size()); }
  [[nodiscard]] int64_t n_all() const { return n_gradient() + static_cast<int64_t>(calib_.heldout.size()); }
  [[nodiscard]] const Sequence& sequence(int64_t s) const {
    return s < n_gradient() ? calib_.gradient[static_cast<size_t>(s)]
                            : calib_.heldout[static_cast<size_t>(s - n_gradient())];
  }

  /// The layer with all its quantized matrices rounded; they are left in `model`.
  DecoderLayer round_layer(int64_t l, CompensatedModel& model) {
    // What a matrix sees comes from matrices of the same layer too: those are taken as rounded without compensation.
    DecoderLayer layer = weights_.layer(l);
    LayerHessians hessians = hessians_of(l, layer);
    for (const Proj p : kProjections) {
      const int64_t item = weights_.item_of(l, p);
      if (item < 0) continue;
      const LinearPlan& linear = plan_.linears[static_cast<size_t>(item)];
      const Feedback feedback = error_feedback(std::move(hessians[static_cast<size_t>(p)]), linear.name, log_);
      at::Tensor decoded;
      model.matrices[static_cast<size_t>(item)] = pack_compensated(
          linear, weights_.stored_weight(static_cast<size_t>(item)), feedback, weights_.quantizer(), &decoded);
      layer.linear[static_cast<size_t>(p)] =
          std::make_shared<DenseLinear>(undo_order(decoded, linear.order()), weights_.dense().bias(l, p));
    }
    return layer;
  }

  /// Sums of s x x^T over the tokens of the gradient part.
  LayerHessians hessians_of(int64_t l, const DecoderLayer& layer) const {
    return sum_hessians(weights_, l, layer, rope_, {states_, n_gradient(), length_},
                        [&](size_t item, int64_t s) { return root_weights_[item][static_cast<size_t>(s)]; });
  }

  /// How much the loss minds an error in a layer's output at a token: the mean over its outputs of the squared gradient
  /// of the loss there, with targets drawn from the model itself so that it is the Fisher information (GuidedQuant,
  /// arXiv 2505.07004, with one group of outputs). Scaled to a mean of 1: the sums must not vanish in f32.
  void weigh_tokens() {
    PassOptions sampled = pass_;
    sampled.loss = LossKind::kSampled;
    sampled.token_weights = true;
    root_weights_.resize(weights_.layers().items.size());
    // Slice by slice: a pass keeps the inputs of every layer for all of its sequences.
    for (int64_t first = 0; first < n_gradient(); first += kSlice) {
      const auto n = static_cast<size_t>(std::min(kSlice, n_gradient() - first));
      const PassResult result =
          gradient_pass(weights_, std::span(calib_.gradient).subspan(static_cast<size_t>(first), n), {}, sampled);
      for (size_t i = 0; i < root_weights_.size(); ++i) {
        const std::vector<at::Tensor>& of_slice = result.linears[i].token_weights;
        root_weights_[i].insert(root_weights_[i].end(), of_slice.begin(), of_slice.end());
      }
      ++sampled.seed;
    }
    for (std::vector<at::Tensor>& weights : root_weights_) {
      const at::Tensor mean = at::cat(weights).mean();
      for (at::Tensor& s : weights) {
        s = mean.item<float>() > 0 ? (s / mean).sqrt().unsqueeze(1) : at::ones({s.size(0), 1});
      }
    }
  }

  double heldout_kl(const std::vector<at::Tensor>& reference) {
    std::vector<SequenceLoss> losses(calib_.heldout.size());
    parallel_for(static_cast<int64_t>(losses.size()), [&](int64_t i) {
      const at::NoGradGuard no_grad;
      const auto k = static_cast<size_t>(i);
      const at::Tensor hidden = weights_.final_hidden(states_.get(n_gradient() + i)).squeeze(0);
      losses[k] = sequence_loss(LossKind::kKl, weights_, hidden, reference[k], calib_.heldout[k], nullptr);
    });
    SequenceLoss sum;
    for (const SequenceLoss& loss : losses) {
      sum.nats += loss.nats;
      sum.positions += loss.positions;
    }
    return sum.nats / static_cast<double>(sum.positions);
  }

  const QuantizedWeights& weights_;
  const ModelConfig& config_;
  const Plan& plan_;
  const CalibSet& calib_;
  const PassOptions& pass_;
  Log& log_;
  int64_t length_;
  RopeTable rope_;
  ActivationStore states_;
  std::vector<std::vector<at::Tensor>> root_weights_;  ///< [item][sequence] of [T, 1]
};

}  // namespace

CompensatedModel compensate(const QuantizedWeights& weights, const Plan& plan, const CalibSet& calib,
                            const PassOptions& pass, Log& log) {
  SCALEBITS_CHECK(plan.linears.size() == weights.layers().items.size() && weights.dtype() == at::kFloat);
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    SCALEBITS_CHECK(plan.linears[i].order() == weights.layers().items[i].order);
  }
  return Compensation(weights, plan, calib, pass, log).run();
}

}  // namespace scalebits
