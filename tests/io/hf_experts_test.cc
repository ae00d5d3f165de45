// SPDX-License-Identifier: Apache-2.0
// The keys of mixtures of experts.
#include <gmock/gmock.h>

#include "scalebits/base/errors.h"
#include "scalebits/io/hf_config.h"
#include "scalebits/io/json.h"
#include "tests/io/error_text.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Json config_of(const char* architecture, const char* model_type, const Json& own) {
  Json json = {{"architectures", {architecture}},
               {"model_type", model_type},
               {"vocab_size", 96},
               {"hidden_size", 48},
               {"intermediate_size", 64},
               {"num_hidden_layers", 4},
               {"num_attention_heads", 4},
               {"num_key_value_heads", 2}};
  json.update(own);
  return json;
}
ModelConfig mixtral(const Json& own) {
  return parse_hf_config(config_of("MixtralForCausalLM", "mixtral", own).dump(), "config.json");
}
ModelConfig qwen(const Json& own) {
  return parse_hf_config(config_of("Qwen3MoeForCausalLM", "qwen3_moe", own).dump(), "config.json");
}

TEST(ExpertKeys, OfMixtral) {
  const ModelConfig config = mixtral({{"num_local_experts", 6}, {"num_experts_per_tok", 3}});
  EXPECT_EQ(config.experts.n_experts, 6);
  EXPECT_EQ(config.experts.n_active, 3);
  EXPECT_EQ(config.experts.d_ff, 64);
  EXPECT_TRUE(config.experts.normalize);
  EXPECT_TRUE(config.has_experts(0) && config.has_experts(3));
  EXPECT_EQ(config.rope_theta, 1e6);  // transformers' defaults
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_EQ(mixtral(Json::object()).experts.n_experts, 8);
}

TEST(ExpertKeys, OfQwen3MoeWithLayersThatStayDense) {
  const Json own = {{"num_experts", 16},      {"num_experts_per_tok", 4}, {"moe_intermediate_size", 32},
                    {"norm_topk_prob", true}, {"decoder_sparse_step", 2}, {"mlp_only_layers", {3}}};
  const ModelConfig config = qwen(own);
  EXPECT_EQ(config.experts.n_experts, 16);
  EXPECT_EQ(config.experts.d_ff, 32);
  EXPECT_EQ(config.d_ff, 64);
  EXPECT_TRUE(config.experts.normalize);
  EXPECT_THAT(config.experts.dense_layers, ElementsAre(true, false, true, true));
  EXPECT_TRUE(config.qk_norm);
  // As transformers 5 writes the number, and its default of the weights.
  const ModelConfig newer = qwen({{"num_local_experts", 4}, {"num_experts_per_tok", 4}});
  EXPECT_EQ(newer.experts.n_experts, 4);
  EXPECT_FALSE(newer.experts.normalize);
}

TEST(ExpertKeys, AModelWithoutAnyLayerOfExpertsIsDense) {
  EXPECT_EQ(qwen({{"mlp_only_layers", {0, 1, 2, 3}}}).experts.n_experts, 0);
}

TEST(ExpertKeys, NumbersThatDoNotFitAreRefused) {
  const auto refusal = [](const Json& own) { return error_text<FormatError>([&] { (void)qwen(own); }); };
  EXPECT_THAT(refusal({{"num_experts", 4}, {"num_experts_per_tok", 5}}),
              AllOf(HasSubstr("num_experts_per_tok: got 5"), HasSubstr("at most 4 (num_experts)")));
  EXPECT_THAT(refusal({{"num_experts", 0}}), HasSubstr("num_experts: got 0, expected a positive integer"));
  EXPECT_THAT(refusal({{"num_experts", 100000}}), HasSubstr("num_experts: got 100000"));
  EXPECT_THAT(refusal({{"mlp_only_layers", {4}}}), HasSubstr("mlp_only_layers: got [4], expected layers from 0 to 3"));
  EXPECT_THAT(refusal({{"mlp_only_layers", {-1}}}), HasSubstr("mlp_only_layers"));
  EXPECT_THAT(refusal({{"decoder_sparse_step", 0}}), HasSubstr("decoder_sparse_step: got 0"));
  EXPECT_THAT(refusal({{"norm_topk_prob", 1}}), HasSubstr("norm_topk_prob: got 1, expected true or false"));
  EXPECT_THAT(refusal({{"moe_intermediate_size", "x"}}), HasSubstr("moe_intermediate_size"));
}

}  // namespace
}  // namespace scalebits::test
