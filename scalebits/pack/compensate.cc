// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/compensate.h"

#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/base/heap.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/activation_store.h"
#include "scalebits/model/gemm.h"
#include "scalebits/pack/gptq.h"

namespace scalebits {
namespace {

/// Positions whose inputs are held at once while a Hessian is summed.
constexpr int64_t kMicrobatchPositions = 4096;
constexpr int64_t kTileRows = 128;

/// Linear layers that read the same input share a Hessian; named by the first of them.
constexpr Proj kInputs[] = {Proj::kQ, Proj::kO, Proj::kGate, Proj::kDown};

Proj input_of(Proj p) {
  if (p == Proj::kK || p == Proj::kV) return Proj::kQ;
  return p == Proj::kUp ? Proj::kGate : p;
}

class Compensation {
 public:
  Compensation(const QuantizedWeights& weights, const Plan& plan, const CalibSet& calib, const PassOptions& pass,
               Log& log)
      : weights_(weights),
        config_(weights.config()),
        plan_(plan),
        calib_(calib),
        log_(log),
        length_(longest()),
        rope_(config_, length_),
        states_(n_all(), length_ * config_.d_model * 4, pass.activation_bytes, pass.spill_dir) {}

  CompensatedModel run() {
    const DenseWeights dense(weights_.shared_checkpoint(), config_);
    const std::vector<at::Tensor> reference = reference_hidden(dense, calib_.heldout);
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
  [[nodiscard]] int64_t longest() const {
    size_t length = 0;
    for (int64_t s = 0; s < n_all(); ++s) length = std::max(length, sequence(s).size());
    return static_cast<int64_t>(length);
  }

  /// The layer with all its quantized matrices rounded; they are left in `model`.
  DecoderLayer round_layer(int64_t l, CompensatedModel& model) {
    // What a matrix sees comes from matrices of the same layer too: those are taken as rounded without compensation.
    DecoderLayer layer = weights_.layer(l);
    std::array<at::Tensor, kProjCount> hessians = sum_hessians(l, layer);
    std::array<std::optional<Feedback>, kProjCount> feedback;
    for (const Proj p : kProjections) {
      const int64_t item = weights_.item_of(l, p);
      if (item < 0) continue;
      const auto input = static_cast<size_t>(input_of(p));
      const LinearPlan& linear = plan_.linears[static_cast<size_t>(item)];
      if (!feedback[input]) feedback[input] = error_feedback(std::move(hessians[input]), linear.name, log_);
      at::Tensor decoded;
      model.matrices[static_cast<size_t>(item)] =
          pack_compensated(linear, weights_.dense().weight(l, p), *feedback[input], weights_.quantizer(), &decoded);
      layer.linear[static_cast<size_t>(p)] = std::make_shared<DenseLinear>(decoded, weights_.dense().bias(l, p));
    }
    return layer;
  }

  /// Sums of x x^T over the gradient part, for each of kInputs that a quantized matrix reads; upper triangles only.
  std::array<at::Tensor, kProjCount> sum_hessians(int64_t l, const DecoderLayer& layer) {
    std::array<at::Tensor, kProjCount> hessians;
    for (const Proj p : kProjections) {
      at::Tensor& h = hessians[static_cast<size_t>(input_of(p))];
      const int64_t n = linear_shape(config_, p).in_features;
      if (weights_.item_of(l, p) >= 0 && !h.defined()) h = at::zeros({n, n});
    }
    const int64_t at_once = std::max<int64_t>(num_threads(), kMicrobatchPositions / std::max<int64_t>(1, length_));
    for (int64_t first = 0; first < n_gradient(); first += at_once) {
      const int64_t count = std::min(at_once, n_gradient() - first);
      std::vector<LayerTaps> taps(static_cast<size_t>(count));
      parallel_for(count, [&](int64_t i) {
        const at::NoGradGuard no_grad;
        (void)decoder_layer_forward(config_, layer, rope_, states_.get(first + i), 0, nullptr,
                                    &taps[static_cast<size_t>(i)]);
      });
      for (const Proj p : kInputs) add_hessian(hessians[static_cast<size_t>(p)], p, taps);
    }
    return hessians;
  }

  /// One task owns some rows of the sum and adds the sequences in order, so threads do not change it.
  static void add_hessian(const at::Tensor& h, Proj p, const std::vector<LayerTaps>& taps) {
    if (!h.defined()) return;
    const int64_t n = h.size(0);
    parallel_for((n + kTileRows - 1) / kTileRows, [&](int64_t i) {
      const int64_t first = i * kTileRows, rows = std::min(kTileRows, n - first);
      at::Tensor part = h.narrow(0, first, rows).narrow(1, first, n - first);
      for (const LayerTaps& sequence : taps) {
        const at::Tensor& x = sequence[static_cast<size_t>(p)].x;
        add_product(part, 1.0F, x.narrow(1, first, rows), true, x.narrow(1, first, n - first), false);
      }
    });
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
  Log& log_;
  int64_t length_;
  RopeTable rope_;
  ActivationStore states_;
};

}  // namespace

CompensatedModel compensate(const QuantizedWeights& weights, const Plan& plan, const CalibSet& calib,
                            const PassOptions& pass, Log& log) {
  SCALEBITS_CHECK(plan.linears.size() == weights.layers().items.size() && weights.dtype() == at::kFloat);
  return Compensation(weights, plan, calib, pass, log).run();
}

}  // namespace scalebits
