// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/names.h"

#include <fmt/format.h>

#include "scalebits/base/errors.h"

namespace scalebits {

const char* proj_name(Proj p) {
  switch (p) {
    case Proj::kQ:
      return "q_proj";
    case Proj::kK:
      return "k_proj";
    case Proj::kV:
      return "v_proj";
    case Proj::kO:
      return "o_proj";
    case Proj::kGate:
      return "gate_proj";
    case Proj::kUp:
      return "up_proj";
    case Proj::kDown:
      return "down_proj";
  }
  check_failed(__FILE__, __LINE__, "known projection");
}

std::span<const Proj> same_input(Proj p) {
  // Runs of kProjections, so no other layer stands between two of them.
  const std::span<const Proj> all = kProjections;
  switch (p) {
    case Proj::kQ:
    case Proj::kK:
    case Proj::kV:
      return all.first(3);
    case Proj::kGate:
    case Proj::kUp:
      return all.subspan(4, 2);
    case Proj::kO:
      return all.subspan(3, 1);
    case Proj::kDown:
      return all.subspan(6, 1);
  }
  check_failed(__FILE__, __LINE__, "known projection");
}

std::string linear_name(int64_t layer, Proj p) {
  const bool in_mlp = p == Proj::kGate || p == Proj::kUp || p == Proj::kDown;
  return fmt::format("model.layers.{}.{}.{}", layer, in_mlp ? "mlp" : "self_attn", proj_name(p));
}

std::string attn_norm_name(int64_t layer) { return fmt::format("model.layers.{}.input_layernorm.weight", layer); }
std::string mlp_norm_name(int64_t layer) {
  return fmt::format("model.layers.{}.post_attention_layernorm.weight", layer);
}

LinearShape linear_shape(const ModelConfig& c, Proj p) {
  switch (p) {
    case Proj::kQ:
      return {c.n_heads * c.head_dim, c.d_model, c.qkv_bias};
    case Proj::kK:
    case Proj::kV:
      return {c.n_kv_heads * c.head_dim, c.d_model, c.qkv_bias};
    case Proj::kO:
      return {c.d_model, c.n_heads * c.head_dim, c.o_bias};
    case Proj::kGate:
    case Proj::kUp:
      return {c.d_ff, c.d_model, c.mlp_bias};
    case Proj::kDown:
      return {c.d_model, c.d_ff, c.mlp_bias};
  }
  check_failed(__FILE__, __LINE__, "known projection");
}

}  // namespace scalebits
