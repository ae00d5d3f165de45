// SPDX-License-Identifier: Apache-2.0
/// The architectures that are known: defaults of keys that a config may leave out, and what each one's own keys mean
/// (docs/new-model.md).
#pragma once

#include <string_view>

#include "scalebits/io/config_section.h"
#include "scalebits/io/hf_config.h"

namespace scalebits {

// Far above any model there is, and low enough that products of two or three of them fit in 63 bits.
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxWidth = int64_t{1} << 20;
inline constexpr int64_t kMaxFeedForward = int64_t{1} << 22;
inline constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
inline constexpr int64_t kMaxHeads = int64_t{1} << 16;
inline constexpr int64_t kMaxHeadDim = int64_t{1} << 16;
inline constexpr int64_t kMaxContext = int64_t{1} << 31;
inline constexpr int64_t kMaxExperts = int64_t{1} << 14;

/// One architecture. The defaults are those of transformers.
struct Family {
  std::string_view architecture, model_type;
  int64_t default_context;
  /// Reads its own keys, when those that all families have are in `model`.
  void (*read)(const ConfigSection& config, ModelConfig& model);
  double default_eps = 1e-6;
  int64_t default_head_dim = 0;  ///< 0 = hidden_size / num_attention_heads
  double default_theta = 10000.0;
  double default_local_theta = 0.0;  ///< 0 = layers with a window have no angles of their own
  bool default_tied = false;
  bool partial_rotary = false;  ///< whether it can turn a part of a head alone
  const char* activation_key = "hidden_act";
  const char* default_activation = "silu";
};

/// By `architectures`, else by `model_type`. @throws FormatError, Unsupported
const Family& find_family(const ConfigSection& config);

/// rope_theta, rope_scaling and rope_parameters, partial_rotary_factor. head_dim and max_context are in `model`.
void read_rope(const ConfigSection& config, const Family& family, ModelConfig& model);

}  // namespace scalebits
