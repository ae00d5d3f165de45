// SPDX-License-Identifier: Apache-2.0
/// The experts of one decoder layer in generation: model/experts.h over raw buffers. Allocates nothing for a token
/// after the first where the experts are packed.
#pragma once

#include <span>
#include <vector>

#include "scalebits/model/transformer.h"
#include "scalebits/run/products.h"

namespace scalebits {

class MixtureStep {
 public:
  explicit MixtureStep(const ModelConfig& config);

  /// out [n_tokens, d_model] = the weighted sum of every token's experts, overwritten. Tokens of the same expert are
  /// one product, and those of all experts one parallel region.
  /// @param input  behind the MLP's norm
  void run(const DecoderLayer& layer, LayerInput& input, Activations activations, std::span<float> out);

 private:
  /// Rows of the buffers that belong to one expert, its tokens in order.
  struct Group {
    int64_t expert = 0, first = 0, n_tokens = 0;
  };
  void choose(const DecoderLayer& layer, LayerInput& input);
  void group(int64_t n_tokens);
  void multiply_groups(const DecoderLayer& layer, LayerInput& input, Activations activations);

  const ModelConfig& config_;
  std::vector<float> logits_, weights_;  ///< [n_tokens, n_experts], [n_tokens, n_active]
  std::vector<int32_t> chosen_;          ///< [n_tokens, n_active]
  std::vector<Group> groups_;
  std::vector<int64_t> next_;    ///< by expert: its next free row
  std::vector<int64_t> row_of_;  ///< [n_tokens, n_active] row of the buffers
  std::vector<LayerInput> inputs_;
  std::vector<LinearProduct> products_;
  std::vector<float> gathered_, gate_, up_, outputs_;  ///< [n_tokens * n_active, .]
};

}  // namespace scalebits
