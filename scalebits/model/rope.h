// SPDX-License-Identifier: Apache-2.0
/// Rotary position embedding, rotate-half form (Hugging Face layout), with linear and llama3 frequency scaling.
#pragma once

#include "scalebits/io/hf_config.h"
#include "scalebits/model/torch.h"

namespace scalebits {

/// cos and sin of every position and frequency; computed in double, stored as f32.
class RopeTable {
 public:
  RopeTable() = default;
  /// @param positions  table length; @param config gives head_dim, rope_theta and the scaling rule
  RopeTable(const ModelConfig& config, int64_t positions);

  /// Rotates channel pairs (i, i + head_dim / 2). @param x [B, heads, T, head_dim], first token at `position`
  [[nodiscard]] at::Tensor apply(const at::Tensor& x, int64_t position) const;
  /// Of one position, [head_dim].
  [[nodiscard]] const float* cos_of(int64_t position) const { return cos_.data_ptr<float>() + position * cos_.size(1); }
  [[nodiscard]] const float* sin_of(int64_t position) const { return sin_.data_ptr<float>() + position * sin_.size(1); }
  [[nodiscard]] int64_t positions() const { return cos_.defined() ? cos_.size(0) : 0; }

 private:
  at::Tensor cos_, sin_;  ///< [positions, head_dim]
};

/// Angle per position of each frequency, [head_dim / 2].
/// llama3: transformers, modeling_rope_utils.py, `_compute_llama3_parameters`.
std::vector<double> rope_frequencies(const ModelConfig& config);

}  // namespace scalebits
