// SPDX-License-Identifier: Apache-2.0
/// From real weights to codes, one group (the weights of a row that share a scale) at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "scalebits/format/packed.h"

namespace scalebits {

/// Chooses scale and zero point of one group. Rounding to codes is common to all (round_code).
class GroupQuantizer {
 public:
  virtual ~GroupQuantizer() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Whether fit() heeds `importance`, so that it should be given one.
  [[nodiscard]] virtual bool weighs_errors() const = 0;
  /// @param w           [n] weights of one group, n >= 1, all finite (the caller has checked)
  /// @param importance  [n] non-negative weights of the squared error, or empty for all ones
  /// @param bits        1..8
  /// @return  a finite, non-negative scale and a zero field below 2^zero_bits(bits), whatever the magnitude of w. The
  ///          same on every machine.
  [[nodiscard]] virtual GroupParams fit(std::span<const float> w, std::span<const float> importance,
                                        int bits) const noexcept = 0;
};

/// What fits scale and zero point of a group: "rtn" (min-max, the paper's), "clip" (least squared error, weighted) or
/// "gptq" (clip's, to weights that carry the errors of the columns before: pack/gptq.h).
/// @throws InvalidArgument listing the known names
const GroupQuantizer& group_quantizer(std::string_view name);
/// Those that fit groups differently: all but "gptq".
std::vector<std::string_view> group_quantizer_names();
/// The part of a matrix's importance that belongs to columns first .. first + n; empty stays empty.
inline std::span<const float> of_columns(std::span<const float> importance, int64_t first, size_t n) {
  return importance.empty() ? importance : importance.subspan(static_cast<size_t>(first), n);
}
/// Whether groups are rounded one after another with error compensation, which needs calibration text.
bool is_compensated(std::string_view name);

/// The nearest code, ties to even: clamp(round(w * (1 / scale) + zero), 0, 2^bits - 1); round(zero) where the scale is
/// 0. w is finite.
uint8_t round_code(float w, GroupParams params, int bits) noexcept;
/// scale * (code - zero), exact in f32.
float decode(uint8_t code, GroupParams params, int bits) noexcept;

/// round_code of each weight. @param codes  [w.size()]
void quantize_row(std::span<const float> w, GroupParams params, int bits, std::span<uint8_t> codes) noexcept;
/// decode(round_code(w)) of each weight: what the packed model will hold. @param out  [w.size()], may be w itself
void fake_quantize_row(std::span<const float> w, GroupParams params, int bits, float* out) noexcept;

}  // namespace scalebits
