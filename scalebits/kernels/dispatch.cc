// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/dispatch.h"

#include <fmt/ranges.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <array>
#include <cstdlib>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

struct Candidate {
  const KernelTable* table;
  bool (*available)() noexcept;
};

#if defined(__x86_64__)
/// clang 14 does not know the name in __builtin_cpu_supports.
bool has_f16c() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

/// Best first. What a machine can run is asked here, because a file compiled for an instruction set may use it
/// anywhere.
constexpr std::array kCandidates = {
#if defined(__x86_64__)
    Candidate{&avx512::kTable,
              []() noexcept {
                return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                       __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
                       __builtin_cpu_supports("avx512vbmi") != 0 && __builtin_cpu_supports("avx512vnni") != 0;
              }},
    Candidate{&avx2::kTable,
              []() noexcept {
                return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && has_f16c();
              }},
#endif
    Candidate{&reference::kTable, []() noexcept { return true; }},
};

}  // namespace

std::vector<std::string_view> available_kernels() {
  std::vector<std::string_view> names;
  for (const Candidate& candidate : kCandidates) {
    if (candidate.available()) names.emplace_back(candidate.table->name);
  }
  return names;
}

const KernelTable& select_kernels(std::string_view name) {
  for (const Candidate& candidate : kCandidates) {
    if (candidate.available() && (name.empty() || name == candidate.table->name)) return *candidate.table;
  }
  fail<DeviceError>("SCALEBITS_ISA", "instruction set: got '{}', expected one of those this machine runs: {}", name,
                    fmt::join(available_kernels(), ", "));
}

const KernelTable& active_kernels() {
  static const KernelTable& table = [&]() -> const KernelTable& {
    const char* forced = std::getenv("SCALEBITS_ISA");
    return select_kernels(forced == nullptr ? "" : forced);
  }();
  return table;
}

PackedPanels packed_panels(const PackedView& view, const PanelOffsets& panels) {
  return {.out_features = view.grid.out_features(),
          .in_features = view.grid.in_features(),
          .block_rows = view.grid.spec().rows,
          .block_cols = view.grid.spec().cols,
          .group_size = view.grid.spec().group_size,
          .bits = view.bits.data(),
          .codes = view.codes.data(),
          .scales = view.scales.data(),
          .zeros = view.zeros.data(),
          .code_offset = panels.codes.data(),
          .scale_offset = panels.scales.data(),
          .zero_offset = panels.zeros.data()};
}

std::vector<int64_t> split_panels(const PanelOffsets& panels, int64_t n_parts) {
  SCALEBITS_CHECK(n_parts >= 1);
  const auto n_panels = static_cast<int64_t>(panels.codes.size()) - 1;
  const auto bytes_before = [&](int64_t panel) {
    const auto p = static_cast<size_t>(panel);
    return panels.codes[p] + panels.scales[p] + panels.zeros[p];
  };
  std::vector<int64_t> bounds = {0};
  for (int64_t part = 1; part < n_parts; ++part) {
    // In double: the product of two 62-bit numbers does not fit, and a bound off by one panel costs nothing.
    const double target =
        static_cast<double>(bytes_before(n_panels)) * static_cast<double>(part) / static_cast<double>(n_parts);
    int64_t bound = bounds.back();
    // The panel that straddles the target goes to the side that holds more of it.
    while (bound < n_panels && static_cast<double>(bytes_before(bound) + bytes_before(bound + 1)) < 2 * target) ++bound;
    bounds.push_back(bound);
  }
  bounds.push_back(n_panels);
  return bounds;
}

}  // namespace scalebits
