// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/vocab.h"

#include "scalebits/base/errors.h"
#include "scalebits/quantize/pack_linear.h"

namespace scalebits {

std::vector<LinearPlan> vocab_plans(const ModelConfig& config, BlockSpec spec, VocabBits bits) {
  if (config.tied_embeddings && bits.embed != bits.head) {
    fail<FormatError>("plan",
                      "embed_bits and head_bits: got {} and {}, expected the same: this model's head is its "
                      "embedding (tie_word_embeddings)",
                      bits.embed, bits.head);
  }
  std::vector<LinearPlan> plans;
  const auto add = [&](const char* name, int width) {
    if (width == kDenseBits) return;
    LinearPlan& plan = plans.emplace_back();
    plan.name = name;
    plan.grid = BlockGrid(config.vocab_size, config.d_model, spec);
    plan.bits.assign(static_cast<size_t>(plan.grid.n_blocks()), static_cast<uint8_t>(width));
  };
  add(kEmbedMatrix, bits.embed);
  if (!config.tied_embeddings) add(kHeadMatrix, bits.head);
  return plans;
}

PackedMatrix pack_vocab(const DenseWeights& weights, const LinearPlan& matrix, const GroupQuantizer& quantizer) {
  const at::Tensor w = weights.vocab_weight(matrix.name);
  return pack_linear(matrix, {w.data_ptr<float>(), static_cast<size_t>(w.numel())}, quantizer);
}

}  // namespace scalebits
