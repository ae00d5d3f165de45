// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/heap.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/activation_store.h"
#include "scalebits/calibrate/contract.h"
#include "scalebits/model/experts.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

/// Rows of a weight gradient formed by one task.
constexpr int64_t kTaskRows = 128;

class Pass {
 public:
  Pass(const QuantizedWeights& weights, std::span<const Sequence> sequences, std::span<const at::Tensor> reference,
       const PassOptions& options)
      : weights_(weights),
        model_(options.full_precision ? static_cast<const ModelWeights&>(weights.dense()) : weights),
        config_(weights.config()),
        sequences_(sequences),
        reference_(reference),
        options_(options),
        length_(longest(sequences)),
        rope_(config_, length_),
        inputs_(n() * config_.n_layers, length_ * config_.d_model * 4, options.activation_bytes, options.spill_dir),
        dx_(sequences.size()) {}

  PassResult run() {
    PassResult result;
    result.linears.resize(weights_.layers().items.size());
    result.loss = forward();
    for (int64_t l = config_.n_layers - 1; l >= 0; --l) contract_layer(l, result);
    return result;
  }

  TokenWeights token_weights() {
    TokenWeights result(weights_.layers().items.size());
    forward();
    for (int64_t l = config_.n_layers - 1; l >= 0; --l) {
      backward_layer(l, [&](const std::vector<LayerTaps>& taps) {
        for (const Slot slot : slots(config_, l)) {
          const int64_t item = weights_.item_of(l, slot);
          if (item < 0) continue;
          for (const LayerTaps& sequence : taps) {
            result[static_cast<size_t>(item)].push_back(weights_in(sequence, l, slot));
          }
        }
      });
    }
    return result;
  }

 private:
  /// Of one sequence, as TokenWeights.
  [[nodiscard]] at::Tensor weights_in(const LayerTaps& taps, int64_t l, Slot slot) const {
    const at::Tensor& dy = taps[slot].dy;
    if (!is_experts(config_, l, slot) || taps.every_expert) return dy.square().mean(1);
    at::Tensor weights = at::full({taps.chosen.size(0)}, -1.0);
    if (dy.defined()) weights.index_copy_(0, tokens_of(taps.chosen, slot.expert()), dy.square().mean(1));
    return weights;
  }

  [[nodiscard]] int64_t n() const { return static_cast<int64_t>(sequences_.size()); }

  double forward() {
    std::vector<at::Tensor> x(sequences_.size());
    parallel_for(n(), [&](int64_t s) { x[static_cast<size_t>(s)] = model_.embed(sequences_[static_cast<size_t>(s)]); });
    for (int64_t l = 0; l < config_.n_layers; ++l) {
      throw_if_stopped();
      const DecoderLayer layer = model_.layer(l);
      parallel_for(n(), [&](int64_t s) {
        const at::NoGradGuard no_grad;
        at::Tensor& xs = x[static_cast<size_t>(s)];
        inputs_.put(l * n() + s, xs);
        xs = decoder_layer_forward(config_, layer, rope_, xs, 0, nullptr, nullptr);
      });
      release_free_heap();
    }
    return loss_and_gradient(x);
  }

  /// Fills dx_ with the gradient of the summed loss at the last layer's output.
  double loss_and_gradient(std::vector<at::Tensor>& x) {
    std::vector<SequenceLoss> losses(sequences_.size());
    parallel_for(n(), [&](int64_t s) {
      const auto k = static_cast<size_t>(s);
      const at::Tensor out = x[k].detach().requires_grad_(true);
      const at::Tensor hidden = model_.final_hidden(out);
      at::Tensor dhidden;
      losses[k] = sequence_loss(options_.loss, model_, hidden.detach().squeeze(0),
                                options_.loss == LossKind::kKl ? reference_[k] : at::Tensor(), sequences_[k], &dhidden,
                                options_.seed * 1000003 + static_cast<uint64_t>(s));
      hidden.backward(dhidden.unsqueeze(0));
      dx_[k] = out.grad();
      x[k] = at::Tensor();
    });
    double nats = 0;
    for (size_t k = 0; k < losses.size(); ++k) {
      if (!std::isfinite(losses[k].nats)) {
        fail<Error>("calibrate", "loss of sequence {}: got {}, expected a finite number. Are the weights sound?", k,
                    losses[k].nats);
      }
      nats += losses[k].nats;
      positions_ += losses[k].positions;
    }
    return nats / static_cast<double>(positions_);
  }

  /// Recomputes one layer forward and takes it backward, some sequences at a time, in order.
  void backward_layer(int64_t l, const std::function<void(const std::vector<LayerTaps>&)>& sink) {
    throw_if_stopped();
    const DecoderLayer layer = model_.layer(l);
    const int64_t at_once = std::max<int64_t>(num_threads(), kMicrobatchPositions / std::max<int64_t>(1, length_));
    for (int64_t first = 0; first < n(); first += at_once) {
      const int64_t count = std::min(at_once, n() - first);
      std::vector<LayerTaps> taps(static_cast<size_t>(count));
      parallel_for(count, [&](int64_t i) { backward_sequence(l, layer, first + i, taps[static_cast<size_t>(i)]); });
      sink(taps);
    }
    release_free_heap();
  }

  void contract_layer(int64_t l, PassResult& result) {
    std::vector<WeightGradient> gradients;
    for (const Slot slot : slots(config_, l)) {
      if (weights_.item_of(l, slot) >= 0) gradients.emplace_back(slot, linear_shape(config_, l, slot));
    }
    backward_layer(l, [&](const std::vector<LayerTaps>& taps) { accumulate(gradients, taps); });
    for (const WeightGradient& gradient : gradients) {
      const auto item = static_cast<size_t>(weights_.item_of(l, gradient.slot));
      result.linears[item] = contract(weights_, item, gradient, positions_, shares_of(item));
    }
  }

  [[nodiscard]] std::span<const float> shares_of(size_t item) const {
    if (options_.column_shares == nullptr) return {};
    return (*options_.column_shares)[item];
  }

  void backward_sequence(int64_t l, const DecoderLayer& layer, int64_t s, LayerTaps& taps) {
    const auto k = static_cast<size_t>(s);
    taps.every_expert = options_.every_expert;
    const at::Tensor x = inputs_.get(l * n() + s).detach().requires_grad_(true);
    const at::Tensor y = decoder_layer_forward(config_, layer, rope_, x, 0, nullptr, &taps);
    y.backward(dx_[k]);
    dx_[k] = x.grad();
  }

  /// Adds every sequence's dy^T x and its square, sequences in order, so that threads do not change the sums.
  void accumulate(std::vector<WeightGradient>& gradients, const std::vector<LayerTaps>& taps) {
    struct Tile {
      WeightGradient* gradient;
      int64_t first, rows;
    };
    std::vector<Tile> tiles;
    for (WeightGradient& gradient : gradients) {
      for (int64_t r = 0; r < gradient.out_features; r += kTaskRows) {
        tiles.push_back({&gradient, r, std::min(kTaskRows, gradient.out_features - r)});
      }
    }
    parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
      const Tile& tile = tiles[static_cast<size_t>(i)];
      std::vector<float> one(static_cast<size_t>(tile.rows * tile.gradient->in_features));
      for (const LayerTaps& sequence : taps) {
        const LinearTap& tap = sequence[tile.gradient->slot];
        if (!tap.dy.defined()) continue;  // an expert that none of the tokens goes to
        matmul_tn(tap.dy, tile.first, tile.rows, tap.x, one.data());
        tile.gradient->add(tile.first, one);
      }
    });
  }

  const QuantizedWeights& weights_;
  const ModelWeights& model_;  ///< whose gradient is taken
  const ModelConfig& config_;
  std::span<const Sequence> sequences_;
  std::span<const at::Tensor> reference_;
  const PassOptions& options_;
  int64_t length_;
  RopeTable rope_;
  ActivationStore inputs_;
  std::vector<at::Tensor> dx_;
  int64_t positions_ = 0;
};

}  // namespace

PassResult gradient_pass(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                         std::span<const at::Tensor> reference, const PassOptions& options) {
  SCALEBITS_CHECK(!sequences.empty() && weights.dtype() == at::kFloat);
  return Pass(weights, sequences, reference, options).run();
}

TokenWeights token_weights(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                           std::span<const at::Tensor> reference, const PassOptions& options) {
  SCALEBITS_CHECK(!sequences.empty() && weights.dtype() == at::kFloat);
  return Pass(weights, sequences, reference, options).token_weights();
}

PassResult sensitivity_pass(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                            std::span<const at::Tensor> reference, const PassOptions& options,
                            int64_t fisher_sequences) {
  PassResult result = gradient_pass(weights, sequences, reference, options);
  PassOptions sampled = options;
  sampled.loss = LossKind::kSampled;
  const auto n = std::min(sequences.size(), static_cast<size_t>(fisher_sequences));
  PassResult fisher = gradient_pass(weights, sequences.first(n), {}, sampled);
  for (size_t i = 0; i < result.linears.size(); ++i) {
    LinearSensitivity& to = result.linears[i];
    LinearSensitivity& from = fisher.linears[i];
    to.row_fisher = std::move(from.row_fisher);
    to.col_fisher = std::move(from.col_fisher);
    for (size_t b = 0; b < to.blocks.size(); ++b) {
      const BlockSensitivity first_order = to.blocks[b];
      to.blocks[b] = from.blocks[b];
      to.blocks[b].up = first_order.up;
      to.blocks[b].down = first_order.down;
      to.blocks[b].restore = first_order.restore;
    }
  }
  return result;
}

}  // namespace scalebits
