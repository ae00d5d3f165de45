// SPDX-License-Identifier: Apache-2.0
/// Rotary position embedding, rotate-half form (Hugging Face layout), with linear, llama3 and longrope scaling.
#pragma once

#include "scalebits/io/hf_config.h"
#include "scalebits/model/torch.h"

namespace scalebits {

/// cos and sin of every position and frequency; computed in double, stored as f32.
class RopeTable {
 public:
  /// [positions, rotary_dim]
  struct Angles {
    at::Tensor cos, sin;
    [[nodiscard]] const float* cos_of(int64_t position) const { return cos.data_ptr<float>() + position * cos.size(1); }
    [[nodiscard]] const float* sin_of(int64_t position) const { return sin.data_ptr<float>() + position * sin.size(1); }
  };

  RopeTable() = default;
  /// @param positions  table length, and with longrope that of the text, which decides between the short and the long
  ///                   factors; @param config gives head_dim, rope_theta and the scaling rule
  RopeTable(const ModelConfig& config, int64_t positions);

  /// Rotates channel pairs (i, i + rotary_dim / 2). @param x [B, heads, T, head_dim], first token at `position`
  /// @param windowed  whether the layer has a window
  [[nodiscard]] at::Tensor apply(const at::Tensor& x, int64_t position, bool windowed = false) const;
  /// The same for tokens anywhere. @param position [T] int64, each below positions()
  [[nodiscard]] at::Tensor apply(const at::Tensor& x, const at::Tensor& position, bool windowed = false) const;
  [[nodiscard]] const Angles& of(bool windowed) const { return windowed ? windowed_ : full_; }
  [[nodiscard]] int64_t positions() const { return full_.cos.defined() ? full_.cos.size(0) : 0; }

 private:
  Angles full_, windowed_;  ///< the same tensors where windowed layers have no angles of their own
};

/// Angle per position of each frequency, [rotary_dim / 2], in a text of `positions` tokens.
/// llama3, longrope: transformers, modeling_rope_utils.py, `_compute_llama3_parameters`,
/// `_compute_longrope_parameters`.
std::vector<double> rope_frequencies(const ModelConfig& config, int64_t positions = 0);

}  // namespace scalebits
