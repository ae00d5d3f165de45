// SPDX-License-Identifier: Apache-2.0
/// Float tensors to the bytes of a stored dtype.
#pragma once

#include <vector>

#include "scalebits/io/safetensors.h"

namespace scalebits {

/// Rounds to nearest even. @param dtype F32, F16 or BF16
/// @throws Error naming the tensor when a finite value overflows F16
std::vector<std::byte> to_bytes(std::span<const float> values, DType dtype, const std::string& name);

}  // namespace scalebits
