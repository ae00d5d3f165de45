// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/hessian.h"

#include <algorithm>

#include "scalebits/base/heap.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/feedback.h"
#include "scalebits/model/fold.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

/// Rows of a sum that one task owns.
constexpr int64_t kTaskRows = 128;

/// sum += rows^T x over the sequences, of the upper triangle alone where `upper`. One task owns some rows of the sum
/// and adds the sequences in order, so threads do not change it.
void add_moment(at::Tensor& sum, const std::vector<at::Tensor>& rows, const std::vector<at::Tensor>& x, bool upper) {
  const int64_t m = sum.size(0), n = sum.size(1);
  parallel_for((m + kTaskRows - 1) / kTaskRows, [&](int64_t i) {
    const int64_t first = i * kTaskRows, count = std::min(kTaskRows, m - first), column = upper ? first : 0;
    at::Tensor part = sum.narrow(0, first, count).narrow(1, column, n - column);
    for (size_t s = 0; s < x.size(); ++s) {
      add_product(part, 1.0F, rows[s].narrow(1, first, count), true, x[s].narrow(1, column, n - column), false);
    }
  });
}

/// Adds the sequences from `first` on to the moments of one matrix.
void add_moments(InputMoments& moments, const QuantizedWeights& weights, const MomentSource& source, Slot slot,
                 int64_t first, const std::vector<LayerTaps>& taps, const std::vector<LayerTaps>& should_be) {
  const auto item = static_cast<size_t>(weights.item_of(source.layer, slot));
  const auto& [rows, cols] = weights.layers().items[item].order;
  std::vector<int64_t> seen;  // sequences that have tokens for this matrix
  for (size_t k = 0; k < taps.size(); ++k) {
    if (taps[k][slot].x.defined()) seen.push_back(static_cast<int64_t>(k));
  }
  std::vector<at::Tensor> x(seen.size()), drift(source.should_be ? seen.size() : 0),
      owed(source.owed ? seen.size() : 0);
  parallel_for(static_cast<int64_t>(seen.size()), [&](int64_t i) {
    const auto k = static_cast<size_t>(i), at = static_cast<size_t>(seen[k]);
    const int64_t s = first + seen[k];
    const at::Tensor root = source.root_weight ? source.root_weight(slot, s) : at::ones({1, 1});
    x[k] = permute_dim(taps[at][slot].x, 1, cols) * root;
    if (!drift.empty()) drift[k] = permute_dim(should_be[at][slot].x, 1, cols) * root - x[k];
    if (!owed.empty()) owed[k] = permute_dim(source.owed(slot, s), 1, rows) * root;
  });
  add_moment(moments.second, x, x, true);
  if (!drift.empty()) add_moment(moments.drift, drift, x, false);
  if (!owed.empty()) add_moment(moments.owed, owed, x, false);
}

}  // namespace

int64_t experts_at_once(const ModelConfig& config) {
  constexpr int64_t kBytes = int64_t{2} << 30;
  const int64_t d = config.d_model, f = config.experts.d_ff;
  const int64_t each = 4 * static_cast<int64_t>(sizeof(float)) * std::max(2 * d * d, f * f);
  return std::clamp<int64_t>(kBytes / each, 1, std::max<int64_t>(config.experts.n_experts, 1));
}

LayerMoments sum_moments(const QuantizedWeights& weights, const MomentSource& source) {
  LayerMoments moments(slots(weights.config(), source.layer).size());
  std::vector<Slot> wanted;
  for (const Slot slot : source.slots) {
    if (weights.item_of(source.layer, slot) < 0) continue;
    wanted.push_back(slot);
    const LinearShape shape = linear_shape(weights.config(), source.layer, slot);
    const int64_t m = shape.out_features, n = shape.in_features;
    InputMoments& of = moments[slot];
    of.second = at::zeros({n, n});
    if (source.should_be) of.drift = at::zeros({n, n});
    if (source.owed) of.owed = at::zeros({m, n});
  }
  if (wanted.empty()) return moments;
  const int64_t at_once = std::max<int64_t>(num_threads(), kMicrobatchPositions / std::max<int64_t>(1, source.length));
  for (int64_t first = 0; first < source.n_sequences; first += at_once) {
    const auto count = static_cast<size_t>(std::min(at_once, source.n_sequences - first));
    std::vector<LayerTaps> taps(count), should_be(source.should_be ? count : 0);
    parallel_for(static_cast<int64_t>(count), [&](int64_t i) {
      const at::NoGradGuard no_grad;
      taps[static_cast<size_t>(i)] = source.taps(first + i);
      if (source.should_be) should_be[static_cast<size_t>(i)] = source.should_be(first + i);
    });
    for (const Slot slot : wanted) {
      add_moments(moments[slot], weights, source, slot, first, taps, should_be);
    }
  }
  return moments;
}

std::vector<std::vector<float>> column_shares(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                                              const PassOptions& pass, Log& log) {
  const ModelConfig& config = weights.config();
  const auto n = static_cast<int64_t>(sequences.size());
  const int64_t length = longest(sequences);
  const RopeTable rope(config, length);
  ActivationStore states(n, length * config.d_model * 4, pass.activation_bytes, pass.spill_dir);
  parallel_for(n, [&](int64_t s) { states.put(s, weights.dense().embed(sequences[static_cast<size_t>(s)])); });

  std::vector<std::vector<float>> shares(weights.layers().items.size());
  for (int64_t l = 0; l < config.n_layers; ++l) {
    throw_if_stopped();
    const DecoderLayer layer = weights.dense().layer(l);
    const auto taps = [&](int64_t s) {
      LayerTaps of_sequence;
      of_sequence.every_expert = pass.every_expert;
      (void)decoder_layer_forward(config, layer, rope, states.get(s), 0, nullptr, &of_sequence);
      return of_sequence;
    };
    const std::vector<Slot> all = slots(config, l);
    LayerMoments moments = sum_moments(weights, {l, all, n, length, taps});
    for (const Slot slot : all) {
      const int64_t item = weights.item_of(l, slot);
      if (item < 0) continue;
      at::Tensor& h = moments[slot].second;
      const at::Tensor diagonal = h.diagonal().clone();
      const Feedback feedback =
          error_feedback(std::move(h), weights.layers().items[static_cast<size_t>(item)].name, log);
      const at::Tensor whole = diagonal + feedback.damping * diagonal.mean();
      std::vector<float>& share = shares[static_cast<size_t>(item)];
      share = feedback.d;
      // A layer whose inputs are all zero has no error to share.
      for (size_t c = 0; c < share.size(); ++c) {
        const float all = whole.data_ptr<float>()[c];
        share[c] = all > 0 ? std::min(share[c] / all, 1.0F) : 1.0F;
      }
    }
    parallel_for(n, [&](int64_t s) {
      const at::NoGradGuard no_grad;
      states.put(s, decoder_layer_forward(config, layer, rope, states.get(s), 0, nullptr, nullptr));
    });
    release_free_heap();
  }
  return shares;
}

}  // namespace scalebits
