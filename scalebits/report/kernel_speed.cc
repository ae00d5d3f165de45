// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/kernel_speed.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/base/rng.h"
#include "scalebits/kernels/products.h"

namespace scalebits {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_of(const auto& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Random codes and weights of a random sign; speed does not depend on them.
PackedMatrix random_matrix(const BlockGrid& grid, int bits) {
  Rng rng(1);
  std::vector<uint8_t> widths(static_cast<size_t>(grid.n_blocks()));
  for (size_t i = 0; i < widths.size(); ++i) widths[i] = static_cast<uint8_t>(bits > 0 ? bits : 2 + i % 4);
  for (size_t i = widths.size(); bits == 0 && i > 1; --i) std::swap(widths[i - 1], widths[rng.below(i)]);
  PackedMatrix matrix(grid, widths);
  std::vector<uint8_t> codes;
  std::vector<GroupParams> params;
  const auto r = static_cast<size_t>(grid.spec().rows), c = static_cast<size_t>(grid.spec().cols);
  for (size_t i = 0; i < r * c; ++i) codes.push_back(static_cast<uint8_t>(rng.below(2)));
  params.assign(r * c / static_cast<size_t>(grid.spec().group_size), GroupParams{100, 1});
  parallel_for(grid.n_blocks(), [&](int64_t block) {
    const Extent rows = grid.rows(block / grid.col_blocks()), cols = grid.cols(block % grid.col_blocks());
    const auto n = static_cast<size_t>(rows.count * cols.count);
    const auto groups = static_cast<size_t>(rows.count * grid.groups(block % grid.col_blocks()));
    matrix.set_block(block, std::span(codes).first(n), std::span(params).first(groups));
  });
  return matrix;
}

/// Memory to read: four times the largest matrix, which for the default one is 0.5 GB and beyond the last cache of a
/// large server (260 MB), which would otherwise keep some of it, and of the matrix.
class Memory {
 public:
  explicit Memory(int64_t largest) : bytes_(static_cast<size_t>(round_up(4 * largest, kPart)), 1) {}
  [[nodiscard]] double read_gbps() const {
    const auto n = static_cast<int64_t>(bytes_.size());
    const double s = seconds_of([&] {
      parallel_for(n / kPart, [&](int64_t i) { sink_ += active_kernels().read(bytes_.data() + i * kPart, kPart); });
    });
    return static_cast<double>(n) / s / 1e9;
  }

 private:
  static constexpr int64_t kPart = 256 << 10;
  std::vector<uint8_t> bytes_;
  inline static std::atomic<uint64_t> sink_{0};
};

KernelSpeed measure(const PackedMatrix& matrix, const KernelSpeedOptions& options, const Memory& memory) {
  const PackedView view = matrix.view();
  const PanelOffsets panels = check_packed(view, "bench");
  const BlockGrid& grid = view.grid;
  Int8Activations x;
  std::vector<float> values(static_cast<size_t>(options.n_tokens * grid.in_features()));
  Rng rng(2);
  for (float& v : values) v = static_cast<float>(2 * rng.uniform() - 1);
  x.assign(values, options.n_tokens, grid.spec().group_size, {});
  std::vector<float> y(static_cast<size_t>(options.n_tokens * grid.out_features()));
  const std::vector<Int8Product> product = {{&view, &panels, &x, y, {}}};
  std::vector<double> gbps, reads, shares;
  for (int i = 0; i <= options.repetitions; ++i) {
    throw_if_stopped();
    const double read = memory.read_gbps();
    const double s = seconds_of([&] { multiply_int8(product); });
    if (i == 0) continue;  // pages are touched, threads are awake
    gbps.push_back(static_cast<double>(matrix.total_bytes()) / s / 1e9);
    reads.push_back(read);
    shares.push_back(gbps.back() / read);
  }
  KernelSpeed speed;
  speed.gbps = median(gbps);
  speed.read_gbps = median(reads);
  speed.share = median(shares);
  speed.mean_bits = static_cast<double>(view.codes.size()) * 8 / static_cast<double>(grid.n_weights());
  speed.ns_per_weight =
      static_cast<double>(matrix.total_bytes()) / speed.gbps / static_cast<double>(grid.n_weights() * options.n_tokens);
  return speed;
}

}  // namespace

std::vector<KernelSpeed> measure_kernels(const KernelSpeedOptions& options, Log& log) {
  if (options.n_tokens < 1) fail<InvalidArgument>("--tokens", "got {}, expected at least 1.", options.n_tokens);
  if (options.repetitions < 1) {
    fail<InvalidArgument>("--repetitions", "got {}, expected at least 1.", options.repetitions);
  }
  const BlockGrid grid(options.rows, options.cols, {.rows = 32, .cols = 128, .group_size = 128});
  const Memory memory(grid.n_weights());
  std::vector<KernelSpeed> all;
  const std::vector<int> widths = {1, 2, 3, 4, 5, 6, 7, 8, 0};
  for (size_t i = 0; i < widths.size(); ++i) {
    log.progress("measuring", static_cast<int64_t>(i), static_cast<int64_t>(widths.size()));
    const PackedMatrix matrix = random_matrix(grid, widths[i]);
    for (const int threads : options.threads) {
      set_num_threads(threads);
      all.push_back(measure(matrix, options, memory));
      all.back().bits = widths[i];
      all.back().threads = threads;
    }
    set_num_threads(0);
  }
  log.progress("measuring", static_cast<int64_t>(widths.size()), static_cast<int64_t>(widths.size()));
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.threads < b.threads; });
  return all;
}

}  // namespace scalebits
