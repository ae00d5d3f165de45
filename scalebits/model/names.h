// SPDX-License-Identifier: Apache-2.0
/// Hugging Face tensor names of the Llama family.
#pragma once

#include <string>

#include "scalebits/model/slots.h"

namespace scalebits {

/// "model.layers.3.mlp.up_proj", without `.weight`
std::string linear_name(const ModelConfig& config, int64_t layer, Slot slot);
std::string attn_norm_name(int64_t layer);
std::string mlp_norm_name(int64_t layer);
inline constexpr const char* kEmbedName = "model.embed_tokens.weight";
inline constexpr const char* kFinalNormName = "model.norm.weight";
inline constexpr const char* kHeadName = "lm_head.weight";
inline constexpr const char* kEmbedMatrix = "model.embed_tokens";  ///< without `.weight`, as in LinearPlan
inline constexpr const char* kHeadMatrix = "lm_head";

/// [out_features, in_features] of a linear layer, and whether the config gives it a bias.
struct LinearShape {
  int64_t out_features = 0, in_features = 0;
  bool bias = false;
};
LinearShape linear_shape(const ModelConfig& config, int64_t layer, Slot slot);

}  // namespace scalebits
