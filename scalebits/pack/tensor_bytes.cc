// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/tensor_bytes.h"

#include <cstring>

#include "scalebits/base/errors.h"
#include "scalebits/base/half.h"

namespace scalebits {

std::vector<std::byte> to_bytes(std::span<const float> values, DType dtype, const std::string& name) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(dtype_bytes(dtype)));
  if (dtype == DType::kF32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  SCALEBITS_CHECK(dtype == DType::kF16 || dtype == DType::kBF16);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = dtype == DType::kF16 ? float_to_f16(values[i]) : float_to_bf16(values[i]);
    if (dtype == DType::kF16 && (half & 0x7fffU) == 0x7c00U) {
      fail<Error>(name, "value [{}]: got {}, expected at most 65504 for F16. Use f32 or bf16.", i, values[i]);
    }
    std::memcpy(bytes.data() + 2 * i, &half, 2);
  }
  return bytes;
}

}  // namespace scalebits
