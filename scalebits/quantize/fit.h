// SPDX-License-Identifier: Apache-2.0
/// Pieces that the group quantizers share; nothing for other folders.
#pragma once

#include <cstdint>
#include <span>

#include "scalebits/quantize/clip_sums.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {

const GroupQuantizer& rtn_quantizer();
const GroupQuantizer& clip_quantizer();

/// GroupQuantizer::fit of "clip" with given inner loops (tests compare them).
GroupParams fit_clip(std::span<const float> w, std::span<const float> importance, int bits,
                     const ClipSums& sums) noexcept;

/// The smallest f16 >= value, at most the largest finite one (65504). value >= 0.
uint16_t f16_at_least(float value) noexcept;
/// The f16 nearest to value, kept positive and finite: 2^-24 for smaller, 65504 for larger values.
uint16_t f16_scale(float value) noexcept;
/// The zero field nearest to `zero` code steps, within the field.
uint8_t zero_field(float zero, int bits) noexcept;

}  // namespace scalebits
