// SPDX-License-Identifier: Apache-2.0
/// config.json of a Hugging Face checkpoint -> ModelConfig. The only file that knows the Hugging Face key names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

/// How rotary frequencies are stretched.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;     ///< llama3
  double high_freq_factor = 4.0;    ///< llama3
  int64_t original_context = 8192;  ///< llama3: context the model was trained with
};

/// What the transformer needs to know. Every field comes from config.json or its documented default.
struct ModelConfig {
  std::string architecture;  ///< e.g. "LlamaForCausalLM"
  std::string model_type;    ///< e.g. "llama"
  int64_t vocab_size = 0;
  int64_t d_model = 0;
  int64_t d_ff = 0;
  int64_t n_layers = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_context = 0;  ///< max_position_embeddings
  double norm_eps = 1e-5;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  std::string stored_dtype;  ///< "bfloat16", "float16", "float32" or "" when the file does not say
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;
  /// quantization_config.quant_method, or "" for a dense checkpoint.
  std::string quant_method;
};

/// @throws FormatError (not JSON, a needed key is missing or of the wrong type, sizes that do not fit together, values
///         above sane caps), Unsupported (architecture, activation or rope type we do not know; says which are known).
ModelConfig read_hf_config(const std::filesystem::path& model_dir);
ModelConfig parse_hf_config(std::string_view json, const std::string& where);

}  // namespace scalebits
