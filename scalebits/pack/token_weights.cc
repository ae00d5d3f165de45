// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/token_weights.h"

#include <algorithm>

namespace scalebits {
namespace {

/// Sequences of one backward pass: it keeps the inputs of every layer for all of its sequences.
constexpr size_t kSlice = 24;

}  // namespace

TokenWeights root_token_weights(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                                PassOptions pass) {
  pass.loss = LossKind::kSampled;
  pass.full_precision = true;
  TokenWeights roots(weights.layers().items.size());
  for (size_t first = 0; first < sequences.size(); first += kSlice) {
    const size_t n = std::min(kSlice, sequences.size() - first);
    const TokenWeights of_slice = token_weights(weights, sequences.subspan(first, n), {}, pass);
    for (size_t i = 0; i < roots.size(); ++i) roots[i].insert(roots[i].end(), of_slice[i].begin(), of_slice[i].end());
    ++pass.seed;
  }
  for (std::vector<at::Tensor>& of_item : roots) {
    // Tokens that do not go through an expert at full precision may do so once it is rounded: they count as the mean.
    const at::Tensor all = at::cat(of_item), seen = all.masked_select(all >= 0);
    const at::Tensor mean = seen.numel() > 0 ? seen.mean() : at::zeros({});
    for (at::Tensor& s : of_item) {
      s = mean.item<float>() > 0 ? at::where(s >= 0, (s / mean).sqrt(), at::ones_like(s)).unsqueeze(1)
                                 : at::ones({s.size(0), 1});
    }
  }
  return roots;
}

}  // namespace scalebits
