// SPDX-License-Identifier: Apache-2.0
/// How much memory a search will take, before it is begun.
#pragma once

#include "scalebits/calibrate/quantized_weights.h"

namespace scalebits {

struct MemoryEstimate {
  int64_t fixed_bytes = 0;       ///< program, two layers, one layer's gradients, head, logits, microbatch, references
  int64_t activation_bytes = 0;  ///< inputs of all layers for one gradient slice; may go to a file instead
  [[nodiscard]] int64_t total() const { return fixed_bytes + activation_bytes; }
};

/// @param packed_bytes  of the matrices that error compensation holds until they are written; 0 = it is not used
/// @param every_expert  PassOptions::every_expert
/// @param sequences in all; @param slice of one gradient; @param length positions each; @param threads working at once
MemoryEstimate estimate_memory(const ModelConfig& config, const QuantizedLayers& layers, int64_t sequences,
                               int64_t slice, int64_t length, int threads, int64_t packed_bytes,
                               bool every_expert = false);

}  // namespace scalebits
