// SPDX-License-Identifier: Apache-2.0
/// config.json of a Hugging Face checkpoint -> ModelConfig. The files hf_*.cc alone know the Hugging Face key names.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

/// How rotary frequencies are stretched.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3, kLongRope };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;     ///< llama3
  double high_freq_factor = 4.0;    ///< llama3
  int64_t original_context = 8192;  ///< llama3, longrope: context the model was trained with
  /// longrope: what each frequency is divided by, in texts up to original_context and in longer ones.
  std::vector<double> short_factor = {}, long_factor = {};
  double attention_factor = 1.0;  ///< longrope: times cosine and sine
};

/// Of the gate of the MLP.
enum class Activation { kSilu, kGeluTanh };

/// Layers whose MLP is a router and many experts, of which each token goes to some.
struct ExpertConfig {
  int64_t n_experts = 0;           ///< 0 = every layer has one dense MLP
  int64_t n_active = 0;            ///< experts of a token
  int64_t d_ff = 0;                ///< of one expert
  bool normalize = false;          ///< the weights of a token's experts are divided by their sum
  std::vector<bool> dense_layers;  ///< [n_layers] those without experts, or empty: none
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
  double partial_rotary = 1.0;    ///< share of a head's channels that turn, the first ones
  double local_rope_theta = 0.0;  ///< of layers with a window, whose angles are then not scaled; 0 = as all others
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  /// q k v are stored as one tensor, qkv_proj, and gate up as gate_up_proj (a dense checkpoint; see fused_tensors).
  bool fused_projections = false;
  Activation activation = Activation::kSilu;
  bool norm_adds_one = false;  ///< norms multiply by 1 + weight
  bool post_norms = false;     ///< a norm after attention and one after the MLP, before they are added to the stream
  bool qk_norm = false;        ///< a norm of every head of q and of k, before RoPE
  double embed_scale = 1.0;    ///< times the embedding
  double query_scalar = 0.0;   ///< scores are divided by its root; 0 = head_dim
  double attention_cap = 0.0;  ///< score = cap * tanh(score / cap); 0 = none
  double logit_cap = 0.0;      ///< the same for the logits
  int64_t window = 0;          ///< keys that a token of a windowed layer sees, itself included; 0 = no such layer
  std::vector<bool> windowed;  ///< [n_layers], or empty: no layer is
  ExpertConfig experts;
  std::string stored_dtype;  ///< "bfloat16", "float16", "float32" or "" when the file does not say
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;
  /// quantization_config.quant_method, or "" for a dense checkpoint.
  std::string quant_method;

  [[nodiscard]] int64_t rotary_dim() const {
    return static_cast<int64_t>(static_cast<double>(head_dim) * partial_rotary);
  }
  [[nodiscard]] double score_scale() const {
    return 1.0 / std::sqrt(query_scalar > 0 ? query_scalar : static_cast<double>(head_dim));
  }
  [[nodiscard]] bool is_windowed(int64_t layer) const {
    return !windowed.empty() && windowed[static_cast<size_t>(layer)];
  }
  [[nodiscard]] bool has_experts(int64_t layer) const {
    return experts.n_experts > 0 && (experts.dense_layers.empty() || !experts.dense_layers[static_cast<size_t>(layer)]);
  }
};

/// @throws FormatError (not JSON, a needed key is missing or of the wrong type, sizes that do not fit together, values
///         above sane caps), Unsupported (architecture, activation or rope type we do not know; says which are known,
///         and which architecture comes nearest).
ModelConfig read_hf_config(const std::filesystem::path& model_dir);
ModelConfig parse_hf_config(std::string_view json, const std::string& where);

}  // namespace scalebits
