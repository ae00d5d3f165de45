// SPDX-License-Identifier: Apache-2.0
/// Pieces that the group quantizers share; nothing for other folders.
#pragma once

#include <cstdint>
#include <span>

#include "scalebits/quantize/clip_sums.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {

/// Adding 1.5 * 2^23 to 0 <= t < 2^22 leaves t rounded to nearest even in the low mantissa bits: the one rounding that
/// vectorizes on every instruction set and needs no change of rounding mode.
inline constexpr float kRoundingShift = 12582912.0F;

const GroupQuantizer& rtn_quantizer();
const GroupQuantizer& clip_quantizer();

/// GroupQuantizer::fit of "clip" with given inner loops (tests compare them).
GroupParams fit_clip(std::span<const float> w, std::span<const float> importance, int bits,
                     const ClipSums& sums) noexcept;

/// GroupQuantizer::fit of "rtn" above 1 bit, from low = min(w, 0) and high = max(w, 0).
GroupParams fit_range(float low, float high, int bits) noexcept;

/// The zero field nearest to `zero` code steps, within the field.
uint8_t zero_field(float zero, int bits) noexcept;

}  // namespace scalebits
