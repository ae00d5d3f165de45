// SPDX-License-Identifier: Apache-2.0
/// The one transformer: a decoder layer driven by the config, used for calibration, evaluation and generation, over
/// linear layers that are dense or packed.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "scalebits/io/hf_config.h"
#include "scalebits/model/linear.h"
#include "scalebits/model/rope.h"

namespace scalebits {

/// The linear layers of a decoder layer, in this order everywhere.
enum class Proj { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr int kProjCount = 7;
inline constexpr std::array<Proj, kProjCount> kProjections = {Proj::kQ,    Proj::kK,  Proj::kV,   Proj::kO,
                                                              Proj::kGate, Proj::kUp, Proj::kDown};

/// What one decoder layer needs, loaded for as long as it is used.
struct DecoderLayer {
  at::Tensor attn_norm, mlp_norm;  ///< [d_model] f32
  std::array<std::shared_ptr<const Linear>, kProjCount> linear;
  [[nodiscard]] const Linear& operator[](Proj p) const { return *linear[static_cast<size_t>(p)]; }
};

/// One tap per linear layer, for one sequence.
using LayerTaps = std::array<LinearTap, kProjCount>;

/// Keys and values of one layer. [B, n_kv_heads, capacity, head_dim]
struct KvCache {
  at::Tensor k, v;
  KvCache() = default;
  KvCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype);
};

/// y = x * w / sqrt(mean(x^2) + eps), computed in f32. @param x [..., d]
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// The first half of a decoder layer, x + attention(norm(x)), and the second, x + mlp(norm(x)); parameters as below.
at::Tensor attention_half(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                          const at::Tensor& x, int64_t position, KvCache* cache, LayerTaps* taps);
at::Tensor mlp_half(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x, LayerTaps* taps);

/// Both halves.
/// @param x        [B, T, d_model], f32 or bf16
/// @param position index of the first token; earlier ones are in `cache`
/// @param cache    read and appended to, or nullptr for a whole sequence at once
/// @param taps     filled by the backward pass, or nullptr
at::Tensor decoder_layer_forward(const ModelConfig& config, const DecoderLayer& layer, const RopeTable& rope,
                                 const at::Tensor& x, int64_t position, KvCache* cache, LayerTaps* taps);

}  // namespace scalebits
