// SPDX-License-Identifier: Apache-2.0
#include "scalebits/quantize/clip_sums.h"

#include <array>

namespace scalebits {
namespace {

#if defined(__x86_64__)
namespace avx512 {
#define SCALEBITS_TARGET __attribute__((target("avx512f")))
#define SCALEBITS_VECTOR_BYTES 64
#include "scalebits/quantize/clip_sums.inl"
#undef SCALEBITS_TARGET
#undef SCALEBITS_VECTOR_BYTES
bool available() noexcept { return __builtin_cpu_supports("avx512f") != 0; }
}  // namespace avx512

namespace avx2 {
#define SCALEBITS_TARGET __attribute__((target("avx2")))
#define SCALEBITS_VECTOR_BYTES 32
#include "scalebits/quantize/clip_sums.inl"
#undef SCALEBITS_TARGET
#undef SCALEBITS_VECTOR_BYTES
bool available() noexcept { return __builtin_cpu_supports("avx2") != 0; }
}  // namespace avx2
#endif

namespace portable {
#define SCALEBITS_TARGET
#define SCALEBITS_VECTOR_BYTES 16
#include "scalebits/quantize/clip_sums.inl"
#undef SCALEBITS_TARGET
#undef SCALEBITS_VECTOR_BYTES
bool available() noexcept { return true; }
}  // namespace portable

constexpr std::array kTables = {
#if defined(__x86_64__)
    ClipSums{"avx512", avx512::available, avx512::sum_errors, avx512::find_range},
    ClipSums{"avx2", avx2::available, avx2::sum_errors, avx2::find_range},
#endif
    ClipSums{"portable", portable::available, portable::sum_errors, portable::find_range},
};

}  // namespace

std::span<const ClipSums> all_clip_sums() { return kTables; }

const ClipSums& clip_sums() {
  static const ClipSums& best = []() -> const ClipSums& {
    for (const ClipSums& table : kTables) {
      if (table.available()) return table;
    }
    return kTables.back();
  }();
  return best;
}

}  // namespace scalebits
