// SPDX-License-Identifier: Apache-2.0
/// Packed checkpoints made for a test, with the widths that it asks for.
#pragma once

#include <functional>

#include "scalebits/pack/pack.h"

namespace scalebits::test {

/// Width of a block, or 0 for all blocks of a matrix: left dense.
using Widths = std::function<uint8_t(int64_t layer, Slot slot, int64_t block)>;

/// Packs `dense` into the new directory `packed` by rounding to the nearest.
inline void pack_model(const std::filesystem::path& dense, const std::filesystem::path& packed, BlockSpec spec,
                       const Widths& widths, VocabBits vocab = {}) {
  const ModelConfig config = read_hf_config(dense);
  const auto checkpoint = std::make_shared<const Checkpoint>(dense);
  Plan plan;
  plan.spec = spec;
  plan.vocab = vocab;
  plan.quantizer = "rtn";
  plan.method = "test";
  plan.calib_hash = "0123456789abcdef";
  plan.seed = 42;
  plan.model_fingerprint = model_fingerprint(*checkpoint);
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const Slot slot : slots(config, layer)) {
      const LinearShape shape = linear_shape(config, layer, slot);
      LinearPlan linear;
      linear.name = linear_name(config, layer, slot);
      linear.grid = BlockGrid(shape.out_features, shape.in_features, spec);
      for (int64_t b = 0; b < linear.grid.n_blocks(); ++b) linear.bits.push_back(widths(layer, slot, b));
      if (linear.bits[0] != 0) plan.linears.push_back(std::move(linear));
    }
  }
  std::filesystem::create_directories(packed);
  write_packed(checkpoint, config, plan, {}, Json::object(), packed, silent_log());
}

}  // namespace scalebits::test
