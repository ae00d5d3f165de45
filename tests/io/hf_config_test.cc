// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/hf_config.h"

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A small valid config, changed by the members of `patch`; the value "absent" removes a key.
std::string config_with(const std::string& patch) {
  Json config = parse_json(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
      "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100})",
                           "test");
  const Json changes = parse_json(patch, "test");
  for (const auto& [key, value] : changes.items()) {
    if (value == "absent") {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return config.dump();
}

ModelConfig parsed(const std::string& patch) { return parse_hf_config(config_with(patch), "m/config.json"); }

template <class E = FormatError>
std::string refusal(const std::string& patch) {
  return error_text<E>([&] { parsed(patch); });
}

constexpr const char* kMistral = R"("architectures": ["MistralForCausalLM"], "model_type": "mistral")";
constexpr const char* kQwen2 = R"("architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2")";

std::string family_with(const char* family, const std::string& rest) { return fmt::format("{{{}{}}}", family, rest); }

ModelConfig parse_shared(const char* name) {
  const auto path = test::shared_data() / "configs" / name;
  return parse_hf_config(read_text_file(path), path.string());
}

TEST(HfConfig, ReadsTheDemoModel) {
  const ModelConfig model = read_hf_config(test::demo_model());
  EXPECT_EQ(model.architecture, "LlamaForCausalLM");
  EXPECT_EQ(model.model_type, "llama");
  EXPECT_EQ(model.vocab_size, 4096);
  EXPECT_EQ(model.d_model, 256);
  EXPECT_EQ(model.d_ff, 640);
  EXPECT_EQ(model.n_layers, 6);
  EXPECT_EQ(model.n_heads, 4);
  EXPECT_EQ(model.n_kv_heads, 2);
  EXPECT_EQ(model.head_dim, 64);
  EXPECT_EQ(model.max_context, 512);
  EXPECT_EQ(model.norm_eps, 1e-5);
  EXPECT_EQ(model.rope_theta, 10000.0);
  EXPECT_EQ(model.rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_TRUE(model.tied_embeddings);
  EXPECT_FALSE(model.qkv_bias || model.o_bias || model.mlp_bias);
  EXPECT_EQ(model.stored_dtype, "bfloat16");
  EXPECT_EQ(model.bos_token_id, 4094);
  EXPECT_THAT(model.eos_token_ids, ElementsAre(4095));
  EXPECT_EQ(model.quant_method, "");
}

TEST(HfConfig, ReadsQwen2) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const ModelConfig model = parse_shared("qwen2.5-7b.json");
  EXPECT_EQ(model.architecture, "Qwen2ForCausalLM");
  EXPECT_EQ(model.d_model, 3584);
  EXPECT_EQ(model.n_kv_heads, 4);
  EXPECT_EQ(model.head_dim, 128);
  EXPECT_EQ(model.rope_theta, 1e6);
  EXPECT_EQ(model.max_context, 131072);
  EXPECT_TRUE(model.qkv_bias);
  EXPECT_FALSE(model.o_bias || model.mlp_bias || model.tied_embeddings);
  EXPECT_TRUE(parse_shared("qwen2.5-3b.json").tied_embeddings);
}

TEST(HfConfig, ReadsTheKeysOfTransformers5) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const ModelConfig model = parse_shared("smollm2-135m.transformers5.json");
  EXPECT_EQ(model.rope_theta, 100000.0);
  EXPECT_EQ(model.rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_EQ(model.stored_dtype, "float32");
  EXPECT_EQ(model.n_heads, 9);
  EXPECT_EQ(model.n_kv_heads, 3);
}

TEST(HfConfig, NamesArchitecturesItDoesNotKnowAndTheNearestThatItDoes) {
  const auto refused = [](const char* name) {
    return refusal<Unsupported>(fmt::format(R"({{"architectures": ["{}"]}})", name));
  };
  EXPECT_THAT(refused("Qwen3VLForConditionalGeneration"),
              AllOf(HasSubstr("architecture: got \"Qwen3VLForConditionalGeneration\", expected one of "),
                    HasSubstr("LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM"),
                    HasSubstr(" The nearest known is Qwen3ForCausalLM.")));
  EXPECT_THAT(refused("Gemma3ForConditionalGeneration"), HasSubstr("The nearest known is Gemma3ForCausalLM."));
  EXPECT_THAT(refused("Phi4ForCausalLM"), HasSubstr("The nearest known is Phi3ForCausalLM."));
  EXPECT_THAT(refused("BloomForCausalLM"), testing::Not(HasSubstr("nearest")));
  EXPECT_THAT(refusal<Unsupported>(R"({"architectures": "absent", "model_type": "gemma3"})"),
              AllOf(HasSubstr("architecture: got \"gemma3\""), HasSubstr("The nearest known is gemma3_text.")));
}

TEST(HfConfig, FillsInDefaults) {
  const ModelConfig model = parsed("{}");
  EXPECT_EQ(model.n_kv_heads, 4);
  EXPECT_EQ(model.head_dim, 16);
  EXPECT_EQ(model.max_context, 2048);
  EXPECT_EQ(model.norm_eps, 1e-6);
  EXPECT_EQ(model.rope_theta, 10000.0);
  EXPECT_FALSE(model.tied_embeddings);
  EXPECT_FALSE(model.bos_token_id.has_value());
  EXPECT_THAT(model.eos_token_ids, IsEmpty());
  EXPECT_EQ(model.stored_dtype, "");
}

TEST(HfConfig, TakesTheFamilyFromModelTypeWithoutArchitectures) {
  EXPECT_EQ(parsed(R"({"architectures": "absent", "model_type": "qwen2"})").architecture, "Qwen2ForCausalLM");
  EXPECT_EQ(parsed(R"({"architectures": "absent", "model_type": "gemma3_text"})").architecture, "Gemma3ForCausalLM");
  EXPECT_THAT(refusal(R"({"architectures": "absent", "model_type": "absent"})"),
              HasSubstr("[m/config.json] architectures: missing, expected a list of names."));
  EXPECT_THAT(refusal(R"({"architectures": "Llama"})"), HasSubstr("architectures: got \"Llama\", expected a list"));
}

TEST(HfConfig, NamesMissingAndMistypedKeys) {
  EXPECT_THAT(refusal(R"({"hidden_size": "absent"})"),
              testing::StrEq("[m/config.json] hidden_size: missing, expected a positive integer."));
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": "absent"}})", key)), HasSubstr(fmt::format("{}: missing", key)));
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": null}})", key)), HasSubstr(fmt::format("{}: missing", key)));
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": 0}})", key)),
                HasSubstr(fmt::format("{}: got 0, expected a positive", key)));
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": -4}})", key)), HasSubstr(fmt::format("{}: got -4, expected", key)));
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": 4.0}})", key)), HasSubstr(fmt::format("{}: got 4.0, expected", key)));
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": "4"}})", key)), HasSubstr(fmt::format("{}: got \"4\", expected", key)));
  }
  EXPECT_THAT(refusal(R"({"rms_norm_eps": 0})"), HasSubstr("rms_norm_eps: got 0, expected a positive number"));
  EXPECT_THAT(refusal(R"({"tie_word_embeddings": 1})"),
              HasSubstr("tie_word_embeddings: got 1, expected true or false"));
  EXPECT_THAT(refusal(R"({"torch_dtype": 1})"), HasSubstr("torch_dtype: got 1, expected a string"));
}

TEST(HfConfig, CapsEverySize) {
  const std::vector<std::pair<const char*, int64_t>> caps = {
      {"hidden_size", 1 << 20},       {"intermediate_size", 1 << 22},
      {"num_hidden_layers", 4096},    {"num_attention_heads", 65536},
      {"vocab_size", 1 << 24},        {"head_dim", 65536},
      {"num_key_value_heads", 65536}, {"max_position_embeddings", int64_t{1} << 31}};
  for (const auto& [key, cap] : caps) {
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": {}}})", key, cap + 1)),
                HasSubstr(fmt::format("{}: got {}, expected at most {}", key, cap + 1, cap)));
    EXPECT_THAT(refusal(fmt::format(R"({{"{}": 18446744073709551615}})", key)), HasSubstr("expected at most"));
  }
  EXPECT_EQ(parsed(R"({"hidden_size": 1048576, "intermediate_size": 4194304, "num_hidden_layers": 4096})").n_layers,
            4096);
  EXPECT_THAT(refusal(R"({"num_attention_heads": 65536, "head_dim": 128})"),
              HasSubstr("num_attention_heads x head_dim: got 8388608, expected at most 4194304"));
}

TEST(HfConfig, RefusesSizesThatDoNotFitTogether) {
  EXPECT_THAT(refusal(R"({"num_key_value_heads": 3})"),
              HasSubstr("num_key_value_heads: got 3, expected a divisor of num_attention_heads, 4"));
  EXPECT_THAT(refusal(R"({"hidden_size": 66})"),
              HasSubstr("hidden_size: got 66, expected a multiple of num_attention_heads"));
  EXPECT_EQ(parsed(R"({"hidden_size": 66, "head_dim": 32})").head_dim, 32);
  EXPECT_THAT(refusal(R"({"head_dim": 15})"), HasSubstr("head_dim: got 15, expected an even number"));
  EXPECT_THAT(refusal(R"({"hidden_size": 60})"), HasSubstr("head_dim: got 15, expected an even number"));
}

TEST(HfConfig, BiasesFollowTheFamily) {
  const ModelConfig llama = parsed(R"({"attention_bias": true, "mlp_bias": true})");
  EXPECT_TRUE(llama.qkv_bias && llama.o_bias && llama.mlp_bias);
  const ModelConfig qwen = parsed(family_with(kQwen2, ""));
  EXPECT_TRUE(qwen.qkv_bias);
  EXPECT_FALSE(qwen.o_bias || qwen.mlp_bias);
  const ModelConfig mistral = parsed(family_with(kMistral, R"(, "sliding_window": null)"));
  EXPECT_FALSE(mistral.qkv_bias || mistral.o_bias || mistral.mlp_bias);
}

TEST(HfConfig, RefusesLayerTypesThatTheFamilyDoesNotHave) {
  EXPECT_NO_THROW(parsed(R"({"layer_types": ["full_attention", "full_attention"]})"));
  EXPECT_THAT(refusal<Unsupported>(R"({"layer_types": ["full_attention", "sliding_attention"]})"),
              HasSubstr("layer_types: got \"sliding_attention\""));
}

TEST(HfConfig, RefusesOtherActivations) {
  EXPECT_THAT(refusal<Unsupported>(R"({"hidden_act": "gelu"})"),
              HasSubstr("hidden_act: got \"gelu\", expected \"silu\""));
}

TEST(HfConfig, ReadsRopeScalingOfEitherSpelling) {
  for (const char* pattern : {R"({{"rope_theta": 5e5, "rope_scaling": {{"{}": "llama3", {}}}}})",
                              R"({{"rope_parameters": {{"rope_theta": 500000.0, "{}": "llama3", {}}}}})"}) {
    for (const char* key : {"type", "rope_type"}) {
      const ModelConfig model = parsed(fmt::format(fmt::runtime(pattern), key,
                                                   R"("factor": 32.0, "low_freq_factor": 1.5, "high_freq_factor": 5.0,
                                                      "original_max_position_embeddings": 4096)"));
      EXPECT_EQ(model.rope_theta, 500000.0);
      EXPECT_EQ(model.rope_scaling.kind, RopeScaling::Kind::kLlama3);
      EXPECT_EQ(model.rope_scaling.factor, 32.0);
      EXPECT_EQ(model.rope_scaling.low_freq_factor, 1.5);
      EXPECT_EQ(model.rope_scaling.high_freq_factor, 5.0);
      EXPECT_EQ(model.rope_scaling.original_context, 4096);
    }
  }
  const ModelConfig linear = parsed(R"({"rope_scaling": {"type": "linear", "factor": 4}})");
  EXPECT_EQ(linear.rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(linear.rope_scaling.factor, 4.0);
  EXPECT_EQ(parsed(R"({"rope_scaling": {"rope_type": "default"}})").rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_EQ(parsed(R"({"rope_scaling": null, "rope_parameters": {"rope_theta": 7}})").rope_theta, 7.0);
}

TEST(HfConfig, RefusesRopeItCannotCompute) {
  EXPECT_THAT(refusal<Unsupported>(R"({"rope_scaling": {"rope_type": "yarn", "factor": 4}})"),
              HasSubstr("rope_scaling.rope_type: got \"yarn\", expected default, linear, llama3 or longrope"));
  EXPECT_THAT(refusal<Unsupported>(R"({"partial_rotary_factor": 0.5})"), HasSubstr("partial_rotary_factor: got 0.5"));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"type": "linear"}})"),
              HasSubstr("rope_scaling.factor: missing, expected a"));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"type": "linear", "factor": -1}})"),
              HasSubstr("rope_scaling.factor: got -1"));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"factor": 2}})"), HasSubstr("rope_scaling.rope_type: missing"));
  EXPECT_THAT(refusal(R"({"rope_parameters": {"full_attention": {"rope_theta": 1}}})"),
              HasSubstr("rope_parameters.rope_type: missing"));
  EXPECT_THAT(refusal(R"({"rope_scaling": 5})"), HasSubstr("rope_scaling: got 5, expected an object"));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
                          "high_freq_factor": 4, "original_max_position_embeddings": 8192}})"),
              HasSubstr("rope_scaling.high_freq_factor: got 4, expected more than low_freq_factor, 4"));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
                          "high_freq_factor": 4}})"),
              HasSubstr("rope_scaling.original_max_position_embeddings: missing"));
}

TEST(HfConfig, ReadsEndOfTextTokens) {
  EXPECT_THAT(parsed(R"({"eos_token_id": 7})").eos_token_ids, ElementsAre(7));
  EXPECT_THAT(parsed(R"({"eos_token_id": [7, 9]})").eos_token_ids, ElementsAre(7, 9));
  EXPECT_THAT(refusal(R"({"eos_token_id": [7, -1]})"), HasSubstr("eos_token_id: got [7,-1], expected a token id"));
  EXPECT_THAT(refusal(R"({"eos_token_id": "x"})"), HasSubstr("eos_token_id: got \"x\""));
}

TEST(HfConfig, ReadsTheQuantizationMethod) {
  EXPECT_EQ(parsed(R"({"quantization_config": {"quant_method": "scalebits"}})").quant_method, "scalebits");
  EXPECT_EQ(parsed(R"({"quantization_config": null})").quant_method, "");
  EXPECT_THAT(refusal(R"({"quantization_config": {"bits": 4}})"),
              HasSubstr("quantization_config.quant_method: missing, expected a string"));
}

TEST(HfConfig, RefusesWhatIsNoConfigAtAll) {
  EXPECT_THAT(error_text<FormatError>([] { parse_hf_config("[1]", "w"); }), HasSubstr("[w] config: got array"));
  EXPECT_THAT(error_text<FormatError>([] { parse_hf_config("{", "w"); }), HasSubstr("[w] not well-formed JSON"));
  EXPECT_THAT(error_text<FormatError>([] { parse_hf_config(R"({"a": 1, "a": 2})", "w"); }), HasSubstr("twice"));
  EXPECT_THAT(error_text<IoError>([] { read_hf_config("/nowhere"); }),
              HasSubstr("[/nowhere/config.json] no such file. Give the directory of a Hugging Face checkpoint."));
}

}  // namespace
}  // namespace scalebits
