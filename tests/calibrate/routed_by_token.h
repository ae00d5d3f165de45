// SPDX-License-Identifier: Apache-2.0
/// A mixture of experts whose routing is known.
#pragma once

#include "tests/model/checkpoint_copy.h"

namespace scalebits::test {

/// The Mixtral with a router in layer 1 that looks at channel 0 alone, and an embedding and layer 0 that leave there
/// what it should see: tokens below 10 go to experts 2 and 5, all others to 3 and 1.
inline void write_routed_by_token(const std::filesystem::path& dir) {
  copy_model(golden_dir() / "moe/mixtral", dir, [](auto& tensors) {
    at::Tensor& embed = tensors.at("model.embed_tokens.weight");
    embed.select(1, 0).fill_(-20);
    embed.narrow(0, 0, 10).select(1, 0).fill_(20);
    for (auto& [name, tensor] : tensors) {
      if (name.find("layers.0.") != std::string::npos &&
          (name.find("o_proj") != std::string::npos || name.ends_with("w2.weight"))) {
        tensor.zero_();
      }
    }
    tensors.at("model.layers.1.self_attn.o_proj.weight").zero_();
    at::Tensor& router = tensors.at("model.layers.1.block_sparse_moe.gate.weight");
    router.zero_();
    const float by_expert[] = {0, -1, 2, -2, 0, 1, 0, 0};
    for (int64_t e = 0; e < 8; ++e) router[e][0] = by_expert[e];
  });
}

}  // namespace scalebits::test
