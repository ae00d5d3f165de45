// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/hf_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
// Far above any model there is, and low enough that products of two or three of them fit in 63 bits.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxFeedForward = int64_t{1} << 22;
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxHeadDim = int64_t{1} << 16;
constexpr int64_t kMaxContext = int64_t{1} << 31;
constexpr size_t kMaxEosTokens = 1024;

/// Where the families differ. The defaults are those of transformers, for keys that a config may leave out.
struct Family {
  std::string_view architecture;
  std::string_view model_type;
  int64_t default_context;
};
constexpr std::array kFamilies = {
    Family{"LlamaForCausalLM", "llama", 2048},
    Family{"MistralForCausalLM", "mistral", 131072},
    Family{"Qwen2ForCausalLM", "qwen2", 32768},
};

/// Typed access to the keys of one JSON object; a null counts as absent.
class Section {
 public:
  Section(const Json& json, const std::string& where, std::string prefix = "")
      : json_(json), where_(where), prefix_(std::move(prefix)) {}

  [[nodiscard]] const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  [[nodiscard]] bool has_null(const char* key) const {
    const auto found = json_.find(key);
    return found != json_.end() && found->is_null();
  }

  /// A positive integer up to `max`; without a default the key must be there.
  [[nodiscard]] int64_t positive(const char* key, int64_t max, std::optional<int64_t> fallback = {}) const {
    const Json* json = find(key);
    if (json == nullptr && fallback) return *fallback;
    if (json == nullptr || !json->is_number_unsigned() || json->get<uint64_t>() == 0) {
      wrong(key, "a positive integer");
    }
    if (json->get<uint64_t>() > static_cast<uint64_t>(max)) wrong(key, fmt::format("at most {}", max));
    return json->get<int64_t>();
  }

  [[nodiscard]] double positive_number(const char* key, std::optional<double> fallback = {}) const {
    const Json* json = find(key);
    if (json == nullptr && fallback) return *fallback;
    if (json == nullptr || !json->is_number()) wrong(key, "a positive number");
    const auto value = json->get<double>();
    if (!std::isfinite(value) || value <= 0) wrong(key, "a positive number");
    return value;
  }

  [[nodiscard]] bool boolean(const char* key, bool fallback) const {
    const Json* json = find(key);
    if (json == nullptr) return fallback;
    if (!json->is_boolean()) wrong(key, "true or false");
    return json->get<bool>();
  }

  [[nodiscard]] std::string text(const char* key, std::optional<std::string> fallback = {}) const {
    const Json* json = find(key);
    if (json == nullptr && fallback) return *fallback;
    if (json == nullptr || !json->is_string()) wrong(key, "a string");
    return json->get<std::string>();
  }

  /// An object, or nothing.
  [[nodiscard]] const Json* object(const char* key) const {
    const Json* json = find(key);
    if (json != nullptr && !json->is_object()) wrong(key, "an object");
    return json;
  }

  /// Token ids: one, or a list of them.
  [[nodiscard]] std::vector<int64_t> token_ids(const char* key) const {
    const Json* json = find(key);
    if (json == nullptr) return {};
    std::vector<int64_t> ids;
    const auto add = [&](const Json& id) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(kMaxVocabulary)) {
        wrong(key, "a token id or a list of token ids");
      }
      ids.push_back(id.get<int64_t>());
    };
    if (!json->is_array()) {
      add(*json);
      return ids;
    }
    if (json->size() > kMaxEosTokens) wrong(key, fmt::format("at most {} ids", kMaxEosTokens));
    for (const Json& id : *json) add(id);
    return ids;
  }

  [[noreturn]] void wrong(const char* key, std::string_view expected) const {
    const Json* json = find(key);
    if (json == nullptr) fail<FormatError>(where_, "{}{}: missing, expected {}.", prefix_, key, expected);
    fail<FormatError>(where_, "{}{}: got {}, expected {}.", prefix_, key, shown(*json), expected);
  }

  /// A value as it stands in the file, shortened.
  static std::string shown(const Json& json) {
    const std::string dump = json.dump(-1, ' ', true);
    return dump.size() <= 80 ? dump : dump.substr(0, 80) + "...";
  }

  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  const Json& json_;
  const std::string& where_;
  std::string prefix_;
};

std::string known_architectures() {
  std::string names;
  for (const Family& family : kFamilies) names += fmt::format("{}{}", names.empty() ? "" : ", ", family.architecture);
  return names;
}

const Family& read_family(const Section& config) {
  const Json* list = config.find("architectures");
  if (list != nullptr && (!list->is_array() || list->empty() || !list->front().is_string())) {
    config.wrong("architectures", "a list of names");
  }
  const std::string model_type = config.text("model_type", "");
  if (list == nullptr && model_type.empty()) config.wrong("architectures", "a list of names");
  for (const Family& family : kFamilies) {
    if (list != nullptr ? list->front() == family.architecture : model_type == family.model_type) return family;
  }
  fail<Unsupported>(config.where(), "architecture: got {}, expected one of {}.",
                    list != nullptr ? quote(list->front().get<std::string>()) : quote(model_type),
                    known_architectures());
}

/// Where transformers keeps what belongs to RoPE: `rope_scaling` and a `rope_theta` beside it before version 5, all in
/// `rope_parameters` since then. Version 5 prefers the old key when it is there, and so do we.
void read_rope(const Section& config, ModelConfig& model) {
  const Json* scaling = config.object("rope_scaling");
  const char* key = scaling != nullptr && !scaling->empty() ? "rope_scaling" : "rope_parameters";
  const Json* json = config.object(key);
  const Json empty = Json::object();
  const Section rope(json != nullptr ? *json : empty, config.where(), fmt::format("{}.", key));
  model.rope_theta = rope.positive_number("rope_theta", config.positive_number("rope_theta", 10000.0));
  for (const Section* section : {&config, &rope}) {
    if (section->positive_number("partial_rotary_factor", 1.0) != 1.0) {
      fail<Unsupported>(config.where(), "partial_rotary_factor: got {}, expected 1.",
                        section->positive_number("partial_rotary_factor"));
    }
  }
  if (json == nullptr) return;

  const std::string type = rope.text("rope_type", rope.text("type", ""));
  RopeScaling& out = model.rope_scaling;
  if (type == "linear") {
    out.kind = RopeScaling::Kind::kLinear;
    out.factor = rope.positive_number("factor");
  } else if (type == "llama3") {
    out.kind = RopeScaling::Kind::kLlama3;
    out.factor = rope.positive_number("factor");
    out.low_freq_factor = rope.positive_number("low_freq_factor");
    out.high_freq_factor = rope.positive_number("high_freq_factor");
    out.original_context = rope.positive("original_max_position_embeddings", kMaxContext);
    if (out.low_freq_factor >= out.high_freq_factor) {
      rope.wrong("high_freq_factor", fmt::format("more than low_freq_factor, {}", out.low_freq_factor));
    }
  } else if (type.empty()) {
    // Without a type only a bare theta is harmless; anything else (a table per layer type, a factor) changes the model.
    for (const auto& [name, value] : json->items()) {
      if (name != "rope_theta" && name != "partial_rotary_factor") rope.wrong("rope_type", "default, linear or llama3");
    }
  } else if (type != "default" && type != "none") {
    fail<Unsupported>(config.where(), "{}.rope_type: got {}, expected default, linear or llama3.", key, quote(type));
  }
}

/// Every position must see all earlier ones: we have no attention window.
void check_full_attention(const Section& config, const ModelConfig& model) {
  if (model.model_type == "mistral") {
    // A config without the key means transformers' default, 4096.
    const bool written = config.find("sliding_window") != nullptr;
    const bool null = config.has_null("sliding_window");
    const int64_t window = null ? model.max_context : config.positive("sliding_window", kMaxContext, 4096);
    if (window < model.max_context) {
      fail<Unsupported>(config.where(),
                        "sliding_window: got {}{}, expected null or at least {} (max_position_embeddings).", window,
                        written ? "" : " (the default)", model.max_context);
    }
  }
  if (model.model_type == "qwen2" && config.boolean("use_sliding_window", false)) {
    fail<Unsupported>(config.where(), "use_sliding_window: got true, expected false.");
  }
  const Json* layers = config.find("layer_types");
  if (layers == nullptr) return;
  if (!layers->is_array()) config.wrong("layer_types", "a list of names");
  for (const Json& layer : *layers) {
    if (layer != "full_attention") {
      fail<Unsupported>(config.where(), "layer_types: got {}, expected \"full_attention\" everywhere.",
                        Section::shown(layer));
    }
  }
}

void read_sizes(const Section& config, ModelConfig& model) {
  model.vocab_size = config.positive("vocab_size", kMaxVocabulary);
  model.d_model = config.positive("hidden_size", kMaxWidth);
  model.d_ff = config.positive("intermediate_size", kMaxFeedForward);
  model.n_layers = config.positive("num_hidden_layers", kMaxLayers);
  model.n_heads = config.positive("num_attention_heads", kMaxHeads);
  model.n_kv_heads = config.positive("num_key_value_heads", kMaxHeads, model.n_heads);
  if (model.n_heads % model.n_kv_heads != 0) {
    config.wrong("num_key_value_heads", fmt::format("a divisor of num_attention_heads, {}", model.n_heads));
  }
  if (config.find("head_dim") == nullptr && model.d_model % model.n_heads != 0) {
    config.wrong("hidden_size",
                 fmt::format("a multiple of num_attention_heads, {}, where there is no head_dim", model.n_heads));
  }
  model.head_dim = config.positive("head_dim", kMaxHeadDim, model.d_model / model.n_heads);
  if (model.head_dim % 2 != 0) {
    fail<FormatError>(config.where(), "head_dim: got {}, expected an even number (RoPE turns pairs).", model.head_dim);
  }
  if (model.n_heads * model.head_dim > kMaxFeedForward) {
    fail<FormatError>(config.where(), "num_attention_heads x head_dim: got {}, expected at most {}.",
                      model.n_heads * model.head_dim, kMaxFeedForward);
  }
}

}  // namespace

ModelConfig parse_hf_config(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  if (!json.is_object()) fail<FormatError>(where, "config: got {}, expected an object.", json.type_name());
  const Section config(json, where);
  const Family& family = read_family(config);

  ModelConfig model;
  model.architecture = family.architecture;
  model.model_type = family.model_type;
  read_sizes(config, model);
  model.max_context = config.positive("max_position_embeddings", kMaxContext, family.default_context);
  model.norm_eps = config.positive_number("rms_norm_eps", 1e-6);
  read_rope(config, model);
  check_full_attention(config, model);
  const std::string activation = config.text("hidden_act", "silu");
  if (activation != "silu") fail<Unsupported>(where, "hidden_act: got {}, expected \"silu\".", quote(activation));

  const bool llama = model.model_type == "llama";
  model.tied_embeddings = config.boolean("tie_word_embeddings", false);
  model.qkv_bias = model.model_type == "qwen2" || (llama && config.boolean("attention_bias", false));
  model.o_bias = llama && model.qkv_bias;
  model.mlp_bias = llama && config.boolean("mlp_bias", false);
  model.stored_dtype = config.text("torch_dtype", config.text("dtype", ""));
  if (const auto bos = config.token_ids("bos_token_id"); !bos.empty()) model.bos_token_id = bos.front();
  model.eos_token_ids = config.token_ids("eos_token_id");
  if (const Json* quantization = config.object("quantization_config")) {
    // A method that is not named must not pass for a dense checkpoint.
    model.quant_method = Section(*quantization, where, "quantization_config.").text("quant_method");
  }
  return model;
}

ModelConfig read_hf_config(const std::filesystem::path& model_dir) {
  const std::filesystem::path path = model_dir / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    fail<IoError>(path.string(), "no such file. Give the directory of a Hugging Face checkpoint.");
  }
  return parse_hf_config(read_text_file(path, kMaxConfigBytes), path.string());
}

}  // namespace scalebits
