// SPDX-License-Identifier: Apache-2.0
/// The inner loops of the clip quantizer, one table for each instruction set; all give the same bits.
#pragma once

#include <cstdint>
#include <span>

namespace scalebits {

/// One group and what weights its squared errors.
struct GroupView {
  const float* w;           ///< [n]
  const float* importance;  ///< [n], or null for all ones
  int64_t n;
  float importance_scale;  ///< brings the largest importance to 1, so that sums neither overflow nor vanish; 1 if null
};

/// A scale with three zero points to try at once; in units of code steps.
struct Steps {
  float inverse;  ///< 1 / scale
  float zeros[3];
  float top;  ///< 2^bits - 1
};

struct ClipSums {
  const char* name;
  bool (*available)() noexcept;
  /// errors[z] = weighted sum of squared errors, in squared steps, at each of the three zero points.
  void (*errors)(const GroupView& group, const Steps& steps, float* errors) noexcept;
  /// Least and greatest of 0 and the n values.
  void (*range)(const float* values, int64_t n, float* low, float* high) noexcept;
};

/// Every table in this program, best first; the last is portable.
std::span<const ClipSums> all_clip_sums();
/// The best that this machine runs. SCALEBITS_ISA has no say: the result would be the same.
const ClipSums& clip_sums();

}  // namespace scalebits
