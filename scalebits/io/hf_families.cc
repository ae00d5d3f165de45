// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/hf_families.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "scalebits/base/errors.h"
#include "scalebits/base/half.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr const char* kFull = "full_attention";
constexpr const char* kSliding = "sliding_attention";

bool is_text(const Json& json, std::string_view text) {
  return json.is_string() && json.get_ref<const std::string&>() == text;
}

/// transformers' attention_bias is that of all four projections.
void read_attention_bias(const ConfigSection& config, ModelConfig& model) {
  model.qkv_bias = model.o_bias = config.boolean("attention_bias", false);
}

/// What `layer_types` says, where a family minds it, else `by_default` of the layer's index. Needs model.window.
void read_windowed(const ConfigSection& config, ModelConfig& model, const std::function<bool(int64_t)>& by_default) {
  const Json* types = config.list("layer_types", kMaxLayers);
  if (types != nullptr && static_cast<int64_t>(types->size()) != model.n_layers) {
    config.wrong("layer_types", fmt::format("{} names (num_hidden_layers)", model.n_layers));
  }
  std::vector<bool> windowed;
  for (int64_t l = 0; l < model.n_layers; ++l) {
    if (types == nullptr) {
      windowed.push_back(by_default(l));
      continue;
    }
    const Json& type = (*types)[static_cast<size_t>(l)];
    windowed.push_back(is_text(type, kSliding));
    if (!windowed.back() && !is_text(type, kFull)) {
      fail<Unsupported>(config.where(), "layer_types: got {}, expected \"{}\" or \"{}\".", ConfigSection::shown(type),
                        kFull, kSliding);
    }
  }
  if (std::find(windowed.begin(), windowed.end(), true) == windowed.end()) {
    model.window = 0;
    return;
  }
  if (model.window == 0) config.wrong("sliding_window", "a positive integer, because layers have a window");
  model.windowed = std::move(windowed);
}

/// The same window, or none, for every layer: other `layer_types` than that are refused, because transformers would
/// ignore them.
void read_uniform_window(const ConfigSection& config, ModelConfig& model) {
  if (model.window > 0) model.windowed.assign(static_cast<size_t>(model.n_layers), true);
  const char* expected = model.window > 0 ? kSliding : kFull;
  const Json* types = config.list("layer_types", kMaxLayers);
  if (types == nullptr) return;
  for (const Json& type : *types) {
    if (!is_text(type, expected)) {
      fail<Unsupported>(config.where(), "layer_types: got {}, expected \"{}\" everywhere.", ConfigSection::shown(type),
                        expected);
    }
  }
}

/// @param fallback  for a config without the key; null means none
void read_window(const ConfigSection& config, ModelConfig& model, int64_t fallback) {
  const bool written = config.find("sliding_window") != nullptr;
  if (written || (fallback > 0 && !config.has_null("sliding_window"))) {
    model.window = config.positive("sliding_window", kMaxContext, fallback);
  }
}

void read_llama(const ConfigSection& config, ModelConfig& model) {
  read_attention_bias(config, model);
  model.mlp_bias = config.boolean("mlp_bias", false);
  read_uniform_window(config, model);
}

void read_mistral(const ConfigSection& config, ModelConfig& model) {
  read_window(config, model, 4096);
  read_uniform_window(config, model);
}

/// `use_sliding_window` gives the layers from `max_window_layers` on a window.
void read_qwen_window(const ConfigSection& config, ModelConfig& model) {
  if (config.boolean("use_sliding_window", false)) read_window(config, model, 4096);
  const Json* first = config.find("max_window_layers");
  const bool none = first != nullptr && *first == 0;  // not a positive integer, and legal
  const int64_t from = none ? 0 : config.positive("max_window_layers", kMaxLayers, 28);
  read_windowed(config, model, [&](int64_t l) { return model.window > 0 && l >= from; });
}

void read_qwen2(const ConfigSection& config, ModelConfig& model) {
  model.qkv_bias = true;
  read_qwen_window(config, model);
}

void read_qwen3(const ConfigSection& config, ModelConfig& model) {
  read_attention_bias(config, model);
  model.qk_norm = true;
  read_qwen_window(config, model);
}

/// As transformers computes it: in the dtype of the weights, which is that of training.
double embed_scale(const ModelConfig& model) {
  const auto exact = static_cast<float>(std::sqrt(static_cast<double>(model.d_model)));
  if (model.stored_dtype == "bfloat16") return static_cast<double>(bf16_to_float(float_to_bf16(exact)));
  if (model.stored_dtype == "float16") return static_cast<double>(f16_to_float(float_to_f16(exact)));
  return static_cast<double>(exact);
}

/// @param pattern  every so manieth layer sees everything
void read_gemma(const ConfigSection& config, ModelConfig& model, int64_t pattern) {
  read_attention_bias(config, model);
  if (config.boolean("use_bidirectional_attention", false)) {
    fail<Unsupported>(config.where(), "use_bidirectional_attention: got true, expected false.");
  }
  model.norm_adds_one = model.post_norms = true;
  model.embed_scale = embed_scale(model);
  model.query_scalar = config.positive_number("query_pre_attn_scalar", 256.0);
  read_window(config, model, 4096);
  read_windowed(config, model, [&](int64_t l) { return (l + 1) % pattern != 0; });
}

void read_gemma2(const ConfigSection& config, ModelConfig& model) {
  read_gemma(config, model, 2);
  const auto cap = [&](const char* key, double fallback) {
    return config.has_null(key) ? 0.0 : config.positive_number(key, fallback);
  };
  model.attention_cap = cap("attn_logit_softcapping", 50.0);
  model.logit_cap = cap("final_logit_softcapping", 30.0);
}

void read_gemma3(const ConfigSection& config, ModelConfig& model) {
  const char* key =
      config.find("sliding_window_pattern") != nullptr ? "sliding_window_pattern" : "_sliding_window_pattern";
  read_gemma(config, model, config.positive(key, kMaxLayers, 6));
  model.qk_norm = true;
  if (config.find("attn_logit_softcapping") != nullptr) {
    model.attention_cap = config.positive_number("attn_logit_softcapping");
  }
  if (config.find("final_logit_softcapping") != nullptr) {
    model.logit_cap = config.positive_number("final_logit_softcapping");
  }
}

void read_phi3(const ConfigSection& config, ModelConfig& model) {
  model.fused_projections = true;
  read_window(config, model, 0);
  read_uniform_window(config, model);
}

/// Newer versions of transformers write num_local_experts for every model, older ones each model's own key.
void read_expert_counts(const ConfigSection& config, ModelConfig& model, int64_t default_experts,
                        int64_t default_active) {
  const char* key = config.find("num_experts") != nullptr ? "num_experts" : "num_local_experts";
  model.experts.n_experts = config.positive(key, kMaxExperts, default_experts);
  model.experts.n_active = config.positive("num_experts_per_tok", kMaxExperts, default_active);
  if (model.experts.n_active > model.experts.n_experts) {
    config.wrong("num_experts_per_tok", fmt::format("at most {} ({})", model.experts.n_experts, key));
  }
}

void read_mixtral(const ConfigSection& config, ModelConfig& model) {
  read_window(config, model, 0);
  read_uniform_window(config, model);
  read_expert_counts(config, model, 8, 2);
  model.experts.d_ff = model.d_ff;
  model.experts.normalize = true;
}

/// transformers: a layer has experts where it is not in mlp_only_layers and its number, from 1, is a multiple of
/// decoder_sparse_step.
void read_dense_layers(const ConfigSection& config, ModelConfig& model) {
  const int64_t step = config.positive("decoder_sparse_step", kMaxLayers, 1);
  std::vector<bool>& dense = model.experts.dense_layers;
  for (int64_t l = 0; l < model.n_layers; ++l) dense.push_back((l + 1) % step != 0);
  if (const Json* only = config.list("mlp_only_layers", kMaxLayers)) {
    for (const Json& layer : *only) {
      if (!layer.is_number_unsigned() || layer.get<uint64_t>() >= dense.size()) {
        config.wrong("mlp_only_layers", fmt::format("layers from 0 to {}", model.n_layers - 1));
      }
      dense[layer.get<size_t>()] = true;
    }
  }
  if (std::find(dense.begin(), dense.end(), false) == dense.end()) model.experts = {};
}

void read_qwen3_moe(const ConfigSection& config, ModelConfig& model) {
  read_attention_bias(config, model);
  model.qk_norm = true;
  // Unlike in Qwen3, use_sliding_window is for all layers.
  if (config.boolean("use_sliding_window", false)) read_window(config, model, 4096);
  read_uniform_window(config, model);
  read_expert_counts(config, model, 128, 8);
  model.experts.d_ff = config.positive("moe_intermediate_size", kMaxFeedForward, 768);
  model.experts.normalize = config.boolean("norm_topk_prob", false);
  read_dense_layers(config, model);
}

constexpr std::array kFamilies = {
    Family{.architecture = "LlamaForCausalLM", .model_type = "llama", .default_context = 2048, .read = read_llama},
    Family{
        .architecture = "MistralForCausalLM", .model_type = "mistral", .default_context = 131072, .read = read_mistral},
    Family{.architecture = "Qwen2ForCausalLM", .model_type = "qwen2", .default_context = 32768, .read = read_qwen2},
    Family{.architecture = "Qwen3ForCausalLM",
           .model_type = "qwen3",
           .default_context = 32768,
           .read = read_qwen3,
           .default_head_dim = 128},
    Family{.architecture = "MixtralForCausalLM",
           .model_type = "mixtral",
           .default_context = 131072,
           .read = read_mixtral,
           .default_eps = 1e-5,
           .default_theta = 1e6},
    Family{.architecture = "Qwen3MoeForCausalLM",
           .model_type = "qwen3_moe",
           .default_context = 32768,
           .read = read_qwen3_moe},
    Family{.architecture = "Gemma2ForCausalLM",
           .model_type = "gemma2",
           .default_context = 8192,
           .read = read_gemma2,
           .default_head_dim = 256,
           .default_tied = true,
           .activation_key = "hidden_activation",
           .default_activation = "gelu_pytorch_tanh"},
    Family{.architecture = "Gemma3ForCausalLM",
           .model_type = "gemma3_text",
           .default_context = 131072,
           .read = read_gemma3,
           .default_head_dim = 256,
           .default_theta = 1e6,
           .default_local_theta = 10000.0,
           .default_tied = true,
           .activation_key = "hidden_activation",
           .default_activation = "gelu_pytorch_tanh"},
    Family{.architecture = "Phi3ForCausalLM",
           .model_type = "phi3",
           .default_context = 4096,
           .read = read_phi3,
           .default_eps = 1e-5,
           .partial_rotary = true},
};

std::string known_architectures() {
  std::string names;
  for (const Family& family : kFamilies) names += fmt::format("{}{}", names.empty() ? "" : ", ", family.architecture);
  return names;
}

/// The known name with the longest common beginning, then the least edit distance; empty where the beginning that is
/// common says nothing.
std::string_view nearest(const std::string& name, std::string_view Family::*field) {
  constexpr size_t kTelling = 3;
  constexpr size_t kLongest = 256;  // an edit distance costs the product of the lengths
  std::string_view best;
  std::pair<size_t, size_t> best_rank{kTelling, SIZE_MAX};
  if (name.size() > kLongest) return best;
  for (const Family& family : kFamilies) {
    const std::string_view known = family.*field;
    const auto differs = std::mismatch(name.begin(), name.end(), known.begin(), known.end()).first;
    const auto common = static_cast<size_t>(differs - name.begin());
    const size_t distance = edit_distance(name, known);
    if (common > best_rank.first || (common == best_rank.first && distance < best_rank.second)) {
      best_rank = {common, distance};
      best = known;
    }
  }
  return best;
}

}  // namespace

const Family& find_family(const ConfigSection& config) {
  const Json* list = config.find("architectures");
  if (list != nullptr && (!list->is_array() || list->empty() || !list->front().is_string())) {
    config.wrong("architectures", "a list of names");
  }
  const std::string model_type = config.text("model_type", "");
  if (list == nullptr && model_type.empty()) config.wrong("architectures", "a list of names");
  const auto field = list != nullptr ? &Family::architecture : &Family::model_type;
  const std::string name = list != nullptr ? list->front().get<std::string>() : model_type;
  for (const Family& family : kFamilies) {
    if (name == family.*field) return family;
  }
  const std::string_view near = nearest(name, field);
  fail<Unsupported>(config.where(), "architecture: got {}, expected one of {}.{}", quote(name), known_architectures(),
                    near.empty() ? "" : fmt::format(" The nearest known is {}.", near));
}

}  // namespace scalebits
