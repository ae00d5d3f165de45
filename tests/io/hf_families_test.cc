// SPDX-License-Identifier: Apache-2.0
// What the keys of each family's own mean. Expected values: the defaults in transformers' configuration_*.py.
#include <gtest/gtest.h>

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/hf_config.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string config_of(const std::string& architecture, const std::string& keys) {
  return fmt::format(R"({{"architectures": ["{}"], "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4,
      "num_attention_heads": 4, "vocab_size": 100{}{}}})",
                     architecture, keys.empty() ? "" : ", ", keys);
}
ModelConfig parsed(const std::string& architecture, const std::string& keys = "") {
  return parse_hf_config(config_of(architecture, keys), "m/config.json");
}
template <class E = FormatError>
std::string refusal(const std::string& architecture, const std::string& keys) {
  return error_text<E>([&] { parsed(architecture, keys); });
}

constexpr const char *kMistral = "MistralForCausalLM", *kQwen2 = "Qwen2ForCausalLM", *kQwen3 = "Qwen3ForCausalLM",
                     *kGemma2 = "Gemma2ForCausalLM", *kGemma3 = "Gemma3ForCausalLM", *kPhi3 = "Phi3ForCausalLM";

TEST(HfFamilies, MistralHasAWindowUnlessItSaysNone) {
  EXPECT_EQ(parsed(kMistral).window, 4096);
  EXPECT_EQ(parsed(kMistral, R"("sliding_window": 7)").window, 7);
  EXPECT_THAT(parsed(kMistral, R"("sliding_window": 7)").windowed, ElementsAre(true, true, true, true));
  const ModelConfig none = parsed(kMistral, R"("sliding_window": null)");
  EXPECT_EQ(none.window, 0);
  EXPECT_FALSE(none.is_windowed(0));
  EXPECT_THAT(refusal(kMistral, R"("sliding_window": 0)"), HasSubstr("sliding_window: got 0, expected a positive"));
  EXPECT_THAT(refusal<Unsupported>(kMistral, R"("layer_types": ["full_attention"])"),
              HasSubstr("layer_types: got \"full_attention\", expected \"sliding_attention\" everywhere"));
}

TEST(HfFamilies, QwenHasAWindowFromALayerOnWhereItIsAskedFor) {
  for (const char* name : {kQwen2, kQwen3}) {
    EXPECT_EQ(parsed(name, R"("sliding_window": 7, "max_window_layers": 1)").window, 0);
    const ModelConfig some = parsed(name, R"("use_sliding_window": true, "sliding_window": 7, "max_window_layers": 3)");
    EXPECT_EQ(some.window, 7);
    EXPECT_THAT(some.windowed, ElementsAre(false, false, false, true));
    EXPECT_THAT(parsed(name, R"("use_sliding_window": true, "max_window_layers": 0)").windowed,
                ElementsAre(true, true, true, true));
    EXPECT_EQ(parsed(name, R"("use_sliding_window": true)").window, 0);  // from layer 28 on: none of these
    const std::string types = R"("layer_types": ["full_attention", "sliding_attention", "full_attention",
                                                 "full_attention"])";
    EXPECT_THAT(parsed(name, R"("use_sliding_window": true, )" + types).windowed,
                ElementsAre(false, true, false, false));
    EXPECT_THAT(refusal(name, types), HasSubstr("sliding_window: missing, expected a positive integer, because"));
    EXPECT_THAT(refusal(name, R"("layer_types": ["full_attention"])"), HasSubstr("expected 4 names"));
    EXPECT_THAT(refusal<Unsupported>(name, R"("layer_types": ["full_attention", "linear_attention", 1, 2])"),
                HasSubstr("layer_types: got \"linear_attention\", expected"));
  }
}

TEST(HfFamilies, Qwen3HasNormsOfHeadsAndAHeadDimOfItsOwn) {
  const ModelConfig model = parsed(kQwen3);
  EXPECT_TRUE(model.qk_norm);
  EXPECT_EQ(model.head_dim, 128);
  EXPECT_FALSE(model.qkv_bias || model.o_bias || model.post_norms || model.norm_adds_one);
  EXPECT_TRUE(parsed(kQwen3, R"("attention_bias": true)").o_bias);
}

TEST(HfFamilies, ReadsTheSharedQwen3Configs) {
  SCALEBITS_NEEDS_SHARED_DATA();
  for (const auto& [name, tied] : {std::pair("qwen3-4b.json", true), {"qwen3-8b.json", false}}) {
    const ModelConfig model = parse_hf_config(read_text_file(test::shared_data() / "configs" / name), name);
    EXPECT_EQ(model.architecture, kQwen3);
    EXPECT_EQ(model.tied_embeddings, tied);
    EXPECT_EQ(model.rope_theta, 1e6);
    EXPECT_EQ(model.window, 0);
  }
}

TEST(HfFamilies, Gemma2IsWhatItsConfigMeans) {
  const ModelConfig model = parsed(kGemma2);
  EXPECT_TRUE(model.norm_adds_one && model.post_norms && model.tied_embeddings);
  EXPECT_FALSE(model.qk_norm);
  EXPECT_EQ(model.activation, Activation::kGeluTanh);
  EXPECT_EQ(model.head_dim, 256);
  EXPECT_EQ(model.attention_cap, 50.0);
  EXPECT_EQ(model.logit_cap, 30.0);
  EXPECT_DOUBLE_EQ(model.score_scale(), 1.0 / 16);
  EXPECT_DOUBLE_EQ(parsed(kGemma2, R"("query_pre_attn_scalar": 144)").score_scale(), 1.0 / 12);
  EXPECT_EQ(model.window, 4096);
  EXPECT_THAT(model.windowed, ElementsAre(true, false, true, false));
  const ModelConfig uncapped = parsed(kGemma2, R"("attn_logit_softcapping": null, "final_logit_softcapping": null)");
  EXPECT_EQ(uncapped.attention_cap, 0.0);
  EXPECT_EQ(uncapped.logit_cap, 0.0);
  EXPECT_THAT(refusal(kGemma2, R"("sliding_window": null)"), HasSubstr("sliding_window: missing, expected"));
  EXPECT_THAT(refusal<Unsupported>(kGemma2, R"("use_bidirectional_attention": true)"),
              HasSubstr("use_bidirectional_attention: got true"));
}

/// sqrt(48) = 6.9282: between the bf16 numbers 6.90625 and 6.9375, and the f16 ones 6.92578 and 6.92969.
TEST(HfFamilies, GemmaScalesItsEmbeddingInTheDtypeOfTheWeights) {
  EXPECT_EQ(parsed(kGemma2, R"("torch_dtype": "bfloat16")").embed_scale, 6.9375);
  EXPECT_EQ(parsed(kGemma3, R"("dtype": "float16")").embed_scale, 6.9296875);
  EXPECT_NEAR(parsed(kGemma2).embed_scale, std::sqrt(48.0), 1e-6);
}

TEST(HfFamilies, Gemma3HasLocalAnglesInBothSpellings) {
  const ModelConfig plain = parsed(kGemma3);
  EXPECT_EQ(plain.rope_theta, 1e6);
  EXPECT_EQ(plain.local_rope_theta, 1e4);
  EXPECT_TRUE(plain.qk_norm && plain.post_norms && plain.norm_adds_one);
  EXPECT_EQ(plain.attention_cap, 0.0);
  EXPECT_EQ(plain.logit_cap, 0.0);
  EXPECT_THAT(plain.windowed, ElementsAre(true, true, true, true));  // every sixth layer is full
  EXPECT_THAT(parsed(kGemma3, R"("sliding_window_pattern": 3)").windowed, ElementsAre(true, true, false, true));
  EXPECT_THAT(parsed(kGemma3, R"("_sliding_window_pattern": 2)").windowed, ElementsAre(true, false, true, false));
  for (const char* keys :
       {R"("rope_theta": 7e5, "rope_local_base_freq": 900.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0})",
        R"("rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 7e5},
                               "sliding_attention": {"rope_type": "default", "rope_theta": 900.0}})"}) {
    const ModelConfig model = parsed(kGemma3, keys);
    EXPECT_EQ(model.rope_theta, 7e5);
    EXPECT_EQ(model.local_rope_theta, 900.0);
    EXPECT_EQ(model.rope_scaling.kind, RopeScaling::Kind::kLinear);
    EXPECT_EQ(model.rope_scaling.factor, 8.0);
  }
  EXPECT_THAT(refusal<Unsupported>(kGemma3, R"("rope_parameters": {"full_attention": {"rope_type": "default"},
                                    "sliding_attention": {"rope_type": "linear", "factor": 2.0}})"),
              HasSubstr("rope_parameters.sliding_attention.rope_type: got \"linear\""));
  EXPECT_THAT(refusal<Unsupported>(kGemma3, R"("rope_parameters": {"full_attention": {"rope_type": "yarn"}})"),
              HasSubstr("rope_parameters.full_attention.rope_type: got \"yarn\""));
}

TEST(HfFamilies, Phi3HasFusedProjectionsAndTurnsPartOfAHead) {
  const ModelConfig model = parsed(kPhi3, R"("partial_rotary_factor": 0.5, "sliding_window": 9)");
  EXPECT_TRUE(model.fused_projections);
  EXPECT_EQ(model.head_dim, 12);
  EXPECT_EQ(model.rotary_dim(), 6);
  EXPECT_EQ(model.norm_eps, 1e-5);
  EXPECT_EQ(model.window, 9);
  EXPECT_EQ(parsed(kPhi3).window, 0);
  for (const char* factor : {"0.1", "0.25", "1.5"}) {  // 1, 3 and 18 of 12 channels
    EXPECT_THAT(refusal(kPhi3, fmt::format(R"("partial_rotary_factor": {})", factor)),
                HasSubstr(fmt::format("partial_rotary_factor: got {}, expected an even number", factor)));
  }
}

TEST(HfFamilies, ReadsLongrope) {
  const std::string factors = R"("short_factor": [1, 2, 3, 4, 5, 6], "long_factor": [2, 3, 4, 5, 6, 7])";
  const std::string top = R"("max_position_embeddings": 4096, "original_max_position_embeddings": 1024, )";
  const ModelConfig model = parsed(kPhi3, top + R"("rope_scaling": {"type": "longrope", )" + factors + "}");
  EXPECT_EQ(model.rope_scaling.kind, RopeScaling::Kind::kLongRope);
  EXPECT_EQ(model.rope_scaling.original_context, 1024);
  EXPECT_THAT(model.rope_scaling.long_factor, ElementsAre(2, 3, 4, 5, 6, 7));
  // sqrt(1 + ln 4 / ln 1024) = sqrt(1.2)
  EXPECT_DOUBLE_EQ(model.rope_scaling.attention_factor, std::sqrt(1.2));
  const ModelConfig given =
      parsed(kPhi3, R"("rope_parameters": {"rope_type": "su", "attention_factor": 1.5, )" + factors + "}");
  EXPECT_EQ(given.rope_scaling.attention_factor, 1.5);
  EXPECT_EQ(given.rope_scaling.original_context, 4096);
  EXPECT_THAT(refusal(kPhi3, R"("rope_scaling": {"type": "longrope", "short_factor": [1, 2], "long_factor": [1]})"),
              HasSubstr("rope_scaling.short_factor: got [1,2], expected a list of 6 numbers"));
  EXPECT_THAT(refusal(kPhi3, R"("rope_scaling": {"type": "longrope", "short_factor": [1, 2, 3, 4, 5, 0],
                                                 "long_factor": [1, 1, 1, 1, 1, 1]})"),
              HasSubstr("rope_scaling.short_factor: got [1,2,3,4,5,0], expected positive numbers"));
}

}  // namespace
}  // namespace scalebits
