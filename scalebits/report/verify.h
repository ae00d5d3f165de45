// SPDX-License-Identifier: Apache-2.0
/// Checks a model directory byte for byte: checksums, layout, completeness, finite numbers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/model/weights.h"

namespace scalebits {

struct Verification {
  std::vector<std::string> problems;  ///< empty = sound; in a fixed order
  int64_t tensors = 0;                ///< looked at
  int64_t checksums = 0;              ///< compared, of tensors and of whole files
  int64_t bytes = 0;                  ///< of tensors
};

/// Packed: every tensor's checksum (`xxh3:<name>`), the checksums of the other files (quantization_config.files), the
/// layout of every packed matrix, finite scales; all tensors that the config asks for and no others.
/// Dense: all tensors that the config asks for, in the right shapes; no NaN or Inf in any float tensor.
/// Both: a tokenizer.json that is there can be read.
/// @throws what opening throws (a header that lies, a missing shard), as FormatError or IoError; Interrupted
Verification verify_model(const std::filesystem::path& dir, Log& log);

/// Index of the first NaN or Inf of an F16, BF16, F32 or F64 tensor; nothing for other dtypes.
std::optional<int64_t> first_non_finite(const TensorView& tensor);

}  // namespace scalebits
