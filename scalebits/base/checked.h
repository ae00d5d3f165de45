// SPDX-License-Identifier: Apache-2.0
/// Overflow-checked integer arithmetic for sizes that come from files or users.
#pragma once

#include <cstdint>
#include <optional>

namespace scalebits {

/// a + b, or nothing when it does not fit.
inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// a * b, or nothing when it does not fit.
inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Rounds up to a multiple of `step` (> 0); the caller knows the result fits.
constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
constexpr int64_t ceil_div(int64_t value, int64_t step) { return (value + step - 1) / step; }

}  // namespace scalebits
