// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/hf_config.h"

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/hf_families.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

void read_sizes(const ConfigSection& config, const Family& family, ModelConfig& model) {
  model.vocab_size = config.positive("vocab_size", kMaxVocabulary);
  model.d_model = config.positive("hidden_size", kMaxWidth);
  model.d_ff = config.positive("intermediate_size", kMaxFeedForward);
  model.n_layers = config.positive("num_hidden_layers", kMaxLayers);
  model.n_heads = config.positive("num_attention_heads", kMaxHeads);
  model.n_kv_heads = config.positive("num_key_value_heads", kMaxHeads, model.n_heads);
  if (model.n_heads % model.n_kv_heads != 0) {
    config.wrong("num_key_value_heads", fmt::format("a divisor of num_attention_heads, {}", model.n_heads));
  }
  const bool derived = config.find("head_dim") == nullptr && family.default_head_dim == 0;
  if (derived && model.d_model % model.n_heads != 0) {
    config.wrong("hidden_size",
                 fmt::format("a multiple of num_attention_heads, {}, where there is no head_dim", model.n_heads));
  }
  model.head_dim =
      config.positive("head_dim", kMaxHeadDim, derived ? model.d_model / model.n_heads : family.default_head_dim);
  if (model.head_dim % 2 != 0) {
    fail<FormatError>(config.where(), "head_dim: got {}, expected an even number (RoPE turns pairs).", model.head_dim);
  }
  if (model.n_heads * model.head_dim > kMaxFeedForward) {
    fail<FormatError>(config.where(), "num_attention_heads x head_dim: got {}, expected at most {}.",
                      model.n_heads * model.head_dim, kMaxFeedForward);
  }
}

void read_activation(const ConfigSection& config, const Family& family, ModelConfig& model) {
  const std::string name = config.text(family.activation_key, family.default_activation);
  if (name == "gelu_pytorch_tanh") {
    model.activation = Activation::kGeluTanh;
  } else if (name != "silu") {
    fail<Unsupported>(config.where(), "{}: got {}, expected \"silu\" or \"gelu_pytorch_tanh\".", family.activation_key,
                      quote(name));
  }
}

}  // namespace

ModelConfig parse_hf_config(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  if (!json.is_object()) fail<FormatError>(where, "config: got {}, expected an object.", json.type_name());
  const ConfigSection config(json, where);
  const Family& family = find_family(config);

  ModelConfig model;
  model.architecture = family.architecture;
  model.model_type = family.model_type;
  read_sizes(config, family, model);
  model.max_context = config.positive("max_position_embeddings", kMaxContext, family.default_context);
  model.norm_eps = config.positive_number("rms_norm_eps", family.default_eps);
  read_rope(config, family, model);
  read_activation(config, family, model);
  model.tied_embeddings = config.boolean("tie_word_embeddings", family.default_tied);
  model.stored_dtype = config.text("torch_dtype", config.text("dtype", ""));
  if (const auto bos = config.token_ids("bos_token_id", kMaxVocabulary); !bos.empty()) model.bos_token_id = bos.front();
  model.eos_token_ids = config.token_ids("eos_token_id", kMaxVocabulary);
  if (const Json* quantization = config.object("quantization_config")) {
    // A method that is not named must not pass for a dense checkpoint.
    model.quant_method = ConfigSection(*quantization, where, "quantization_config.").text("quant_method");
  }
  family.read(config, model);
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
