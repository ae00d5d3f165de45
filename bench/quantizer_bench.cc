// SPDX-License-Identifier: Apache-2.0
/// Time to fit scale and zero point and to round to codes, by quantizer and width: fit/rtn/4 is 4 bits. Groups of 128,
/// one thread. `time/weight` counts both steps.
#include <benchmark/benchmark.h>

#include <string>

#include "bench/random_weights.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits::bench {
namespace {

constexpr int64_t kGroup = 128;
/// 256 kB of weights: in the cache, as they are when a block is quantized, and enough for the range of shapes that the
/// search of `clip` meets.
constexpr int64_t kWeights = 512 * kGroup;

void fit_groups(benchmark::State& state, const GroupQuantizer& quantizer, bool weighted) {
  const auto bits = static_cast<int>(state.range(0));
  const std::vector<float> w = random_weights(kWeights);
  const std::vector<float> importance(weighted ? static_cast<size_t>(kGroup) : 0, 0.5F);
  std::vector<uint8_t> codes(static_cast<size_t>(kGroup));
  for (auto _ : state) {
    for (int64_t i = 0; i < kWeights; i += kGroup) {
      const std::span<const float> group(w.data() + i, static_cast<size_t>(kGroup));
      const GroupParams params = quantizer.fit(group, importance, bits);
      quantize_row(group, params, bits, codes);
      benchmark::DoNotOptimize(codes.data());
      benchmark::ClobberMemory();
    }
  }
  // Seconds for each weight; printed as 3.2ns.
  const auto weights = static_cast<double>(state.iterations()) * static_cast<double>(kWeights);
  state.counters["time/weight"] =
      benchmark::Counter(weights, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

const bool kRegistered = [] {
  for (const std::string_view name : group_quantizer_names()) {
    for (const bool weighted : {false, true}) {
      const std::string title = (weighted ? "fit_weighted/" : "fit/") + std::string(name);
      const GroupQuantizer& quantizer = group_quantizer(name);
      benchmark::RegisterBenchmark(title.c_str(), [&quantizer, weighted](benchmark::State& state) {
        fit_groups(state, quantizer, weighted);
      })->DenseRange(1, 8);
    }
  }
  return true;
}();

}  // namespace
}  // namespace scalebits::bench
