// SPDX-License-Identifier: Apache-2.0
#include "scalebits/quantize/quantizer.h"

#include <bit>

#include "scalebits/base/errors.h"
#include "scalebits/format/scale.h"
#include "scalebits/quantize/fit.h"

namespace scalebits {
namespace {

/// A group's parameters as floats, ready for a loop.
struct Affine {
  float inverse, scale, zero, top;
  Affine(GroupParams params, int bits)
      : scale(scale_value(params.scale)),
        zero(static_cast<float>(params.zero) * zero_unit(bits)),
        top(static_cast<float>((1 << bits) - 1)) {
    inverse = scale == 0 ? 0 : 1 / scale;
  }
  /// The code plus kRoundingShift.
  [[nodiscard]] float shifted_code(float w) const {
    float t = w * inverse + zero;
    t = t > 0 ? t : 0;
    t = t < top ? t : top;
    return t + kRoundingShift;
  }
  [[nodiscard]] uint8_t code(float w) const { return static_cast<uint8_t>(std::bit_cast<uint32_t>(shifted_code(w))); }
  [[nodiscard]] float rounded(float w) const { return scale * ((shifted_code(w) - kRoundingShift) - zero); }
};

}  // namespace

uint8_t round_code(float w, GroupParams params, int bits) noexcept { return Affine(params, bits).code(w); }

float decode(uint8_t code, GroupParams params, int bits) noexcept {
  const Affine affine(params, bits);
  return affine.scale * (static_cast<float>(code) - affine.zero);
}

void quantize_row(std::span<const float> w, GroupParams params, int bits, std::span<uint8_t> codes) noexcept {
  SCALEBITS_DCHECK(codes.size() == w.size());
  const Affine affine(params, bits);
  for (size_t i = 0; i < w.size(); ++i) codes[i] = affine.code(w[i]);
}

void fake_quantize_row(std::span<const float> w, GroupParams params, int bits, float* out) noexcept {
  const Affine affine(params, bits);
  for (size_t i = 0; i < w.size(); ++i) out[i] = affine.rounded(w[i]);
}

std::vector<std::string_view> group_quantizer_names() { return {"rtn", "clip"}; }

bool is_compensated(std::string_view name) { return name == "gptq"; }

const GroupQuantizer& group_quantizer(std::string_view name) {
  if (name == "rtn") return rtn_quantizer();
  if (name == "clip" || name == "gptq") return clip_quantizer();
  fail<InvalidArgument>("quantizer", "name: got '{}', expected one of rtn, clip, gptq", name);
}

}  // namespace scalebits
