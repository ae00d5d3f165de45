// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/names.h"

#include <fmt/format.h>

#include "scalebits/base/errors.h"

namespace scalebits {

namespace {

/// Mixtral's own words; all later models with experts have those of Qwen.
bool is_mixtral(const ModelConfig& config) { return config.model_type == "mixtral"; }

const char* mixtral_name(Proj p) { return p == Proj::kGate ? "w1" : p == Proj::kUp ? "w3" : "w2"; }

}  // namespace

std::string linear_name(const ModelConfig& config, int64_t layer, Slot slot) {
  const Proj p = slot.proj();
  const bool in_mlp = p == Proj::kGate || p == Proj::kUp || p == Proj::kDown;
  if (!in_mlp || !config.has_experts(layer)) {
    return fmt::format("model.layers.{}.{}.{}", layer, in_mlp ? "mlp" : "self_attn", proj_name(p));
  }
  if (is_mixtral(config)) {
    return fmt::format("model.layers.{}.block_sparse_moe.experts.{}.{}", layer, slot.expert(), mixtral_name(p));
  }
  return fmt::format("model.layers.{}.mlp.experts.{}.{}", layer, slot.expert(), proj_name(p));
}

std::string slot_name(const ModelConfig& config, int64_t layer, Slot slot) {
  return is_experts(config, layer, slot) ? fmt::format("experts.{}.{}", slot.expert(), proj_name(slot.proj()))
                                         : proj_name(slot.proj());
}

std::string router_name(const ModelConfig& config, int64_t layer) {
  return fmt::format("model.layers.{}.{}.gate.weight", layer, is_mixtral(config) ? "block_sparse_moe" : "mlp");
}

std::vector<RowSplit> fused_tensors(const ModelConfig& c) {
  if (!c.fused_projections) return {};
  const int64_t q = c.n_heads * c.head_dim, kv = c.n_kv_heads * c.head_dim;
  return {{".self_attn.qkv_proj.weight",
           {{".self_attn.q_proj.weight", q}, {".self_attn.k_proj.weight", kv}, {".self_attn.v_proj.weight", kv}}},
          {".mlp.gate_up_proj.weight", {{".mlp.gate_proj.weight", c.d_ff}, {".mlp.up_proj.weight", c.d_ff}}}};
}

NormNames norm_names(const ModelConfig& c, int64_t layer) {
  const auto name = [&](const char* norm) { return fmt::format("model.layers.{}.{}.weight", layer, norm); };
  NormNames names;
  names.attn = name("input_layernorm");
  // The name says where the norm stands, which is before the MLP only where attention has no norm behind it.
  names.mlp = name(c.post_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm");
  if (c.post_norms) {
    names.attn_post = name("post_attention_layernorm");
    names.mlp_post = name("post_feedforward_layernorm");
  }
  if (c.qk_norm) {
    names.q = name("self_attn.q_norm");
    names.k = name("self_attn.k_norm");
  }
  return names;
}

std::vector<std::string> NormNames::residual() const {
  std::vector<std::string> names = {attn, mlp};
  if (!attn_post.empty()) names.insert(names.end(), {attn_post, mlp_post});
  return names;
}

std::vector<std::string> NormNames::heads() const {
  return q.empty() ? std::vector<std::string>{} : std::vector<std::string>{q, k};
}

LinearShape linear_shape(const ModelConfig& c, int64_t layer, Slot slot) {
  const int64_t d_ff = c.has_experts(layer) ? c.experts.d_ff : c.d_ff;
  switch (slot.proj()) {
    case Proj::kQ:
      return {c.n_heads * c.head_dim, c.d_model, c.qkv_bias};
    case Proj::kK:
    case Proj::kV:
      return {c.n_kv_heads * c.head_dim, c.d_model, c.qkv_bias};
    case Proj::kO:
      return {c.d_model, c.n_heads * c.head_dim, c.o_bias};
    case Proj::kGate:
    case Proj::kUp:
      return {d_ff, c.d_model, c.mlp_bias};
    case Proj::kDown:
      return {c.d_model, d_ff, c.mlp_bias};
  }
  check_failed(__FILE__, __LINE__, "known projection");
}

}  // namespace scalebits
