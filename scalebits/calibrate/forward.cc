// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/forward.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/base/heap.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"

namespace scalebits {

int64_t longest(std::span<const Sequence> sequences) {
  size_t length = 0;
  for (const Sequence& s : sequences) length = std::max(length, s.size());
  return static_cast<int64_t>(length);
}

void for_each_hidden(const ModelWeights& weights, std::span<const Sequence> sequences,
                     const std::function<void(int64_t, const at::Tensor&)>& sink, int64_t activation_bytes,
                     const LayerWatch& watch) {
  const int64_t length = longest(sequences);
  const RopeTable rope(weights.config(), length);
  const auto total = static_cast<int64_t>(sequences.size());
  const int64_t each = std::max<int64_t>(1, length * weights.config().d_model * 4);
  const int64_t at_once = std::max<int64_t>(num_threads(), activation_bytes / each);
  for (int64_t first = 0; first < total; first += at_once) {
    const int64_t n = std::min(at_once, total - first);
    std::vector<at::Tensor> x(static_cast<size_t>(n));
    parallel_for(
        n, [&](int64_t i) { x[static_cast<size_t>(i)] = weights.embed(sequences[static_cast<size_t>(first + i)]); });
    for (int64_t l = 0; l < weights.config().n_layers; ++l) {
      throw_if_stopped();
      const DecoderLayer layer = decoded_once(weights.layer(l));
      parallel_for(n, [&](int64_t i) {
        const at::NoGradGuard no_grad;
        at::Tensor& xi = x[static_cast<size_t>(i)];
        LayerTaps taps;
        taps.every_expert = watch.every_expert;
        xi = decoder_layer_forward(weights.config(), layer, rope, xi, 0, nullptr, watch.taps ? &taps : nullptr);
        if (watch.taps) watch.taps(l, first + i, taps);
      });
      if (watch.done) watch.done(l);
      release_free_heap();
    }
    parallel_for(n, [&](int64_t i) {
      const at::NoGradGuard no_grad;
      sink(first + i, weights.final_hidden(x[static_cast<size_t>(i)]).squeeze(0));
      x[static_cast<size_t>(i)] = at::Tensor();
    });
  }
}

std::vector<at::Tensor> reference_hidden(const ModelWeights& weights, std::span<const Sequence> sequences) {
  std::vector<at::Tensor> hidden(sequences.size());
  for_each_hidden(weights, sequences, [&](int64_t i, const at::Tensor& h) { hidden[static_cast<size_t>(i)] = h; });
  return hidden;
}

double mean_loss(LossKind kind, const ModelWeights& weights, std::span<const Sequence> sequences,
                 std::span<const at::Tensor> reference) {
  std::vector<SequenceLoss> losses(sequences.size());
  for_each_hidden(weights, sequences, [&](int64_t i, const at::Tensor& h) {
    const auto k = static_cast<size_t>(i);
    losses[k] =
        sequence_loss(kind, weights, h, kind == LossKind::kKl ? reference[k] : at::Tensor(), sequences[k], nullptr);
  });
  SequenceLoss sum;
  for (size_t i = 0; i < losses.size(); ++i) {
    if (!std::isfinite(losses[i].nats)) {
      fail<Error>("loss", "sequence {}: got {}, expected a finite loss. Are the weights sound?", i, losses[i].nats);
    }
    sum.nats += losses[i].nats;
    sum.positions += losses[i].positions;
  }
  return sum.nats / static_cast<double>(sum.positions);
}

}  // namespace scalebits
