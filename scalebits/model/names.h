// SPDX-License-Identifier: Apache-2.0
/// Hugging Face tensor names.
#pragma once

#include <string>
#include <vector>

#include "scalebits/io/safetensors.h"
#include "scalebits/model/slots.h"

namespace scalebits {

/// "model.layers.3.mlp.up_proj", without `.weight`
std::string linear_name(const ModelConfig& config, int64_t layer, Slot slot);
/// The tensors of a dense checkpoint that hold several linear layers, and what they are taken apart into. A packed one
/// has the parts.
std::vector<RowSplit> fused_tensors(const ModelConfig& config);

/// What it is called within its layer: "q_proj", or of an expert "experts.3.up_proj".
std::string slot_name(const ModelConfig& config, int64_t layer, Slot slot);
std::string router_name(const ModelConfig& config, int64_t layer);  ///< of a layer with experts

/// Tensor names of a decoder layer's norms; empty where the config asks for none.
struct NormNames {
  std::string attn, attn_post, mlp, mlp_post;               ///< [d_model], residual channels
  std::string q, k;                                         ///< [head_dim]
  [[nodiscard]] std::vector<std::string> residual() const;  ///< those there are
  [[nodiscard]] std::vector<std::string> heads() const;
};
NormNames norm_names(const ModelConfig& config, int64_t layer);
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
