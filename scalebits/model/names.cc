// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/names.h"

#include <fmt/format.h>

#include "scalebits/base/errors.h"

namespace scalebits {

std::string linear_name(const ModelConfig& /*config*/, int64_t layer, Slot slot) {
  const Proj p = slot.proj();
  const bool in_mlp = p == Proj::kGate || p == Proj::kUp || p == Proj::kDown;
  return fmt::format("model.layers.{}.{}.{}", layer, in_mlp ? "mlp" : "self_attn", proj_name(p));
}

std::string attn_norm_name(int64_t layer) { return fmt::format("model.layers.{}.input_layernorm.weight", layer); }
std::string mlp_norm_name(int64_t layer) {
  return fmt::format("model.layers.{}.post_attention_layernorm.weight", layer);
}

LinearShape linear_shape(const ModelConfig& c, int64_t /*layer*/, Slot slot) {
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
      return {c.d_ff, c.d_model, c.mlp_bias};
    case Proj::kDown:
      return {c.d_model, c.d_ff, c.mlp_bias};
  }
  check_failed(__FILE__, __LINE__, "known projection");
}

}  // namespace scalebits
