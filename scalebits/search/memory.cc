// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/memory.h"

#include <algorithm>

#include "scalebits/calibrate/forward.h"
#include "scalebits/calibrate/hessian.h"
#include "scalebits/model/vocab.h"
#include "scalebits/search/budget.h"

namespace scalebits {

MemoryEstimate estimate_memory(const ModelConfig& c, const QuantizedLayers& layers, int64_t sequences, int64_t slice,
                               int64_t length, int threads, int64_t packed_bytes, bool every_expert) {
  // libtorch and its libraries once loaded and used; measured.
  constexpr int64_t kProgram = int64_t{350} << 20;
  constexpr int64_t kLogitValues = int64_t{1} << 22;
  int64_t layer = 0, widest = 0, taps = 0, hessians = 0, largest = 0, stage = 0;  // of the largest decoder layer
  for (int64_t l = 0; l < c.n_layers; ++l) {
    int64_t weights = 0, channels = 0, squares = 0;
    // A token's rows are with its experts alone, unless all are asked.
    const double share = every_expert || !c.has_experts(l)
                             ? 1.0
                             : static_cast<double>(c.experts.n_active) / static_cast<double>(c.experts.n_experts);
    for (const Slot slot : slots(c, l)) {
      const LinearShape s = linear_shape(c, l, slot);
      const bool of_expert = is_experts(c, l, slot);
      weights += s.out_features * s.in_features;
      widest = std::max(widest, s.out_features * s.in_features);
      channels += static_cast<int64_t>((of_expert ? share : 1.0) * static_cast<double>(s.out_features + s.in_features));
      squares += s.in_features * s.in_features;
      largest = std::max(largest, s.in_features * s.in_features);
      const int64_t together = (of_expert ? experts_at_once(c) : 1) * static_cast<int64_t>(same_input(slot).size());
      stage = std::max(stage, together * s.in_features * s.in_features);
    }
    layer = std::max(layer, weights);
    taps = std::max(taps, channels);
    hessians = std::max(hessians, squares);
  }
  const int64_t positions = std::max<int64_t>(threads * length, std::min(kMicrobatchPositions, slice * length));
  // Q(W) of a layer, the dense matrix it came from (stored, permuted), gradient and squares of the layer.
  const int64_t weights = 4 * (layer + 3 * widest + 2 * layer);
  // A packed vocabulary matrix is once held dense on its way, or decoded for good beside the reference's head.
  int64_t head = 4 * c.vocab_size * c.d_model;
  const auto vocab = vocab_plans(c, layers.items.front().grid.spec(), layers.vocab);
  if (!vocab.empty()) head *= 2;
  for (const LinearPlan& matrix : vocab) head += matrix.bytes();
  const int64_t logits = threads * 6 * 4 * std::max(kLogitValues, 16 * c.vocab_size);
  const int64_t microbatch =
      4 * positions * taps +
      threads * 4 * length * (8 * c.d_model + 4 * std::max(c.d_ff, c.experts.n_active * c.experts.d_ff));
  const int64_t references = 4 * sequences * length * c.d_model;
  const int64_t streams = std::min<int64_t>(int64_t{1} << 30, 4 * sequences * length * c.d_model);
  const int64_t params =
      3 * static_cast<int64_t>(sizeof(GroupParams)) * (n_weights(layers) / layers.items.front().grid.spec().group_size);
  // Column shares, before any gradient: a layer, its Hessians and one that is factored.
  const int64_t shares = 4 * (layer + hessians + largest);
  const int64_t searching = std::max(weights, shares) + params + references + streams;
  // A layer, dense and rounded, a matrix with its target, decoded form and errors, Hessians and drifts (of both parts
  // of the text) of each matrix that is rounded from the same inputs (q, k and v) and one Hessian that is factored;
  // both models' activations. The guard does it while the search's model is there (groups, references), and keeps the
  // best plan's matrices beside those that are made; its own references are a quarter (held-out text).
  const int64_t roots = 4 * sequences * length * static_cast<int64_t>(layers.items.size());
  const int64_t compensating = packed_bytes == 0 ? 0
                                                 : 2 * packed_bytes + params + roots +
                                                       4 * (2 * layer + 8 * widest + 4 * stage + 3 * largest) +
                                                       references + references / 4 + 2 * streams;
  return {kProgram + head + logits + microbatch + std::max(searching, compensating),
          4 * slice * length * c.d_model * c.n_layers};
}

}  // namespace scalebits
