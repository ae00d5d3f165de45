// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/coverage.h"

#include <numeric>

namespace scalebits {
namespace {

constexpr double kRareShare = 0.1;

}  // namespace

double LayerCoverage::mean() const {
  const auto total = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  return static_cast<double>(total) / static_cast<double>(tokens.size());
}

std::vector<int64_t> LayerCoverage::rare() const {
  std::vector<int64_t> experts;
  for (size_t e = 0; e < tokens.size(); ++e) {
    if (static_cast<double>(tokens[e]) < kRareShare * mean()) experts.push_back(static_cast<int64_t>(e));
  }
  return experts;
}

std::vector<LayerCoverage> expert_coverage(const ModelWeights& weights, std::span<const Sequence> sequences) {
  const ModelConfig& config = weights.config();
  std::vector<LayerCoverage> coverage;
  if (config.experts.n_experts == 0) return coverage;
  // [layer][sequence]: added up afterwards, because sequences are computed by several threads.
  std::vector<std::vector<at::Tensor>> chosen(static_cast<size_t>(config.n_layers),
                                              std::vector<at::Tensor>(sequences.size()));
  for_each_hidden(weights, sequences, [](int64_t, const at::Tensor&) {}, int64_t{1} << 30,
                  {.taps = [&](int64_t layer, int64_t s, const LayerTaps& taps) {
                    chosen[static_cast<size_t>(layer)][static_cast<size_t>(s)] = taps.chosen;
                  }});
  for (int64_t l = 0; l < config.n_layers; ++l) {
    if (!config.has_experts(l)) continue;
    LayerCoverage& of = coverage.emplace_back();
    of.layer = l;
    of.tokens.resize(static_cast<size_t>(config.experts.n_experts));
    for (const at::Tensor& experts : chosen[static_cast<size_t>(l)]) {
      const int64_t* first = experts.data_ptr<int64_t>();
      for (int64_t i = 0; i < experts.numel(); ++i) ++of.tokens[static_cast<size_t>(first[i])];
    }
  }
  return coverage;
}

}  // namespace scalebits
