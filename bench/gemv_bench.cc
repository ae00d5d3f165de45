// SPDX-License-Identifier: Apache-2.0
/// Products of packed matrices with a few tokens in 8 bits, for every kernel table this machine runs:
/// gemv/reference/4/1 is 4 bits and one token. One thread; `scalebits bench --kernel` measures with several, and mixed
/// widths. bytes_per_second counts the four packed streams, which is all a product reads of the matrix; the case `read`
/// streams the same memory and does nothing else, the most that any kernel could reach.
#include <benchmark/benchmark.h>

#include <string>

#include "bench/random_weights.h"
#include "scalebits/kernels/products.h"

namespace scalebits::bench {
namespace {

/// 33 MB of codes at 8 bits and 4 MB at 1 bit: beyond the caches that a core has to itself.
constexpr int64_t kRows = 4096;
constexpr int64_t kCols = 8192;

void gemv(benchmark::State& state, const KernelTable& kernels) {
  const PackedMatrix matrix = random_matrix(BlockGrid(kRows, kCols, BlockSpec{}), static_cast<int>(state.range(0)));
  const PackedView view = matrix.view();
  const PanelOffsets panels = check_packed(view, "gemv_bench");
  const PackedPanels packed = packed_panels(view, panels);
  const auto n_tokens = static_cast<int32_t>(state.range(1));
  Int8Activations x;
  x.assign(random_weights(n_tokens * kCols), n_tokens, view.grid.spec().group_size, {});
  std::vector<float> y(static_cast<size_t>(n_tokens * view.grid.spec().rows));
  for (auto _ : state) {
    for (int64_t panel = 0; panel < view.grid.row_blocks(); ++panel) {
      kernels.gemv_int8(packed, panel, x.sets()[0], y.data(), view.grid.spec().rows);
    }
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * matrix.total_bytes());
}

void read(benchmark::State& state) {
  const std::vector<uint8_t> bytes(static_cast<size_t>(kRows * kCols), 1);
  for (auto _ : state) benchmark::DoNotOptimize(active_kernels().read(bytes.data(), kRows * kCols));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * kRows * kCols);
}
BENCHMARK(read)->Unit(benchmark::kMillisecond);

const bool kRegistered = [] {
  for (const std::string_view name : available_kernels()) {
    const KernelTable& kernels = select_kernels(name);
    benchmark::RegisterBenchmark(("gemv/" + std::string(name)).c_str(),
                                 [&kernels](benchmark::State& state) { gemv(state, kernels); })
        ->ArgsProduct({{1, 2, 3, 4, 5, 6, 7, 8}, {1, kMaxGemvTokens}})
        ->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace scalebits::bench
