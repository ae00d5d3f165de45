// SPDX-License-Identifier: Apache-2.0
// Round to nearest between the extremes of the group: the quantizer of arXiv:2602.17698.
#include <algorithm>
#include <cmath>

#include "scalebits/format/scale.h"
#include "scalebits/quantize/fit.h"

namespace scalebits {
namespace {

/// 1 bit: mean +- mean absolute deviation, which is 2 * mad = scale apart and has its zero at 1/2 - mean / scale.
/// Minimum and maximum would make both codes outliers.
GroupParams fit_one_bit(std::span<const float> w) {
  double sum = 0;
  for (const float v : w) sum += v;
  const double mean = sum / static_cast<double>(w.size());
  double deviation = 0;
  for (const float v : w) deviation += std::abs(v - mean);
  const double mad = deviation / static_cast<double>(w.size());
  // A mean beyond both codes' reach (the field's zero lies between them): one code is 0, the other the mean.
  const bool beyond = std::abs(mean) > 2 * mad;
  const double wanted = beyond ? std::abs(mean) : 2 * mad;
  if (wanted == 0) return {};
  const uint8_t scale = nearest_scale(static_cast<float>(wanted));
  if (beyond) return {.scale = scale, .zero = zero_field(mean < 0 ? 1 : 0, 1)};
  return {.scale = scale, .zero = zero_field(static_cast<float>(0.5 - mean / scale_value(scale)), 1)};
}

class Rtn final : public GroupQuantizer {
 public:
  [[nodiscard]] std::string_view name() const override { return "rtn"; }
  [[nodiscard]] bool weighs_errors() const override { return false; }

  /// The range is [min(w, 0), max(w, 0)], so that 0 is a code. The scale is rounded up and the zero to a whole
  /// step, so every weight is at most half a step from its decoded value (while the scale is below the greatest one).
  [[nodiscard]] GroupParams fit(std::span<const float> w, std::span<const float> /*importance*/,
                                int bits) const noexcept override {
    if (bits == 1) return fit_one_bit(w);
    float low = 0;
    float high = 0;
    clip_sums().range(w.data(), static_cast<int64_t>(w.size()), &low, &high);
    return fit_range(low, high, bits);
  }
};

}  // namespace

GroupParams fit_range(float low, float high, int bits) noexcept {
  if (low == high) return {};
  const auto top = static_cast<float>((1 << bits) - 1);
  const uint8_t scale = scale_at_least(high / top - low / top);  // high - low could overflow
  const float zero = std::min(-low / scale_value(scale), top);
  return {.scale = scale, .zero = zero_field((zero + kRoundingShift) - kRoundingShift, bits)};
}

uint8_t zero_field(float zero, int bits) noexcept {
  const float last = static_cast<float>((1 << zero_bits(bits)) - 1);
  const float field = std::clamp(zero * (1 / zero_unit(bits)), 0.0F, last);
  return static_cast<uint8_t>((field + kRoundingShift) - kRoundingShift);
}

const GroupQuantizer& rtn_quantizer() {
  static const Rtn quantizer;
  return quantizer;
}

}  // namespace scalebits
