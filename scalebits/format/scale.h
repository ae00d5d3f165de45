// SPDX-License-Identifier: Apache-2.0
/// Scales of groups: floats of 8 bits, 5 for the exponent and 3 for the mantissa, no sign (docs/format.md, "Scales").
#pragma once

#include <bit>
#include <cstdint>

namespace scalebits {

inline constexpr uint8_t kLeastScale = 1, kGreatestScale = 255;

/// (1 + m / 8) * 2^(e - 22) for the field 8 * e + m; 0 for field 0. Powers of two from 2^-22 to 2^9: a normal f32 whose
/// exponent is 105 more.
constexpr float scale_value(uint8_t field) {
  return field == 0 ? 0.0F : std::bit_cast<float>((uint32_t{field} + (105U << 3)) << 20);
}

/// The field of the nearest scale above 0 (upwards where two are as near); the first or last for values beyond. NaN
/// gives the first.
constexpr uint8_t nearest_scale(float value) {
  if (!(value > scale_value(kLeastScale))) return kLeastScale;
  if (value >= scale_value(kGreatestScale)) return kGreatestScale;
  return static_cast<uint8_t>(((std::bit_cast<uint32_t>(value) + (1U << 19)) >> 20) - (105U << 3));
}

/// The field of the least scale >= value > 0, or the last.
constexpr uint8_t scale_at_least(float value) {
  const uint8_t field = nearest_scale(value);
  return scale_value(field) < value && field < kGreatestScale ? static_cast<uint8_t>(field + 1) : field;
}

}  // namespace scalebits
