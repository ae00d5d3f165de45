// SPDX-License-Identifier: Apache-2.0
/// Linear layers of generation: products of raw buffers, several layers of the same input as one parallel region.
/// Packed layers with activations in 8 bits allocate nothing after the first token.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "scalebits/kernels/products.h"
#include "scalebits/model/linear.h"

namespace scalebits {

/// The activations that enter some linear layers, in the forms these need, each made once.
class LayerInput {
 public:
  /// @param x  [n_tokens, n] f32, to be kept until the next call
  void set(std::span<const float> x, int64_t n_tokens, const NormBefore& norm = {});
  [[nodiscard]] int64_t n_tokens() const { return n_tokens_; }
  /// After the norm, in the model's order.
  std::span<const float> floats();
  /// For weights in groups of `group_size` whose stored column c is column cols[c]. Orders are told apart by content.
  const Int8Activations& int8(int group_size, std::span<const int32_t> cols);

 private:
  struct Form {
    int group_size;
    std::span<const int32_t> cols;
    Int8Activations values;
  };
  std::span<const float> x_;
  int64_t n_tokens_ = 0;
  NormBefore norm_;
  bool has_floats_ = false;
  std::vector<float> floats_;
  size_t n_forms_ = 0;
  std::deque<Form> forms_;  ///< the first n_forms_ are of x_, the others keep their memory
};

/// One product: y [n_tokens, out_features] = input * linear^T + bias, overwritten.
struct LinearProduct {
  const Linear* linear;  ///< PackedLinear or DenseLinear
  std::span<float> y;
  LayerInput* input = nullptr;  ///< of its own; nullptr = that of all
};

/// Packed layers together, then dense ones: up to kMaxGemvTokens tokens with bf16 weights as they are, f32 activations;
/// more tokens, and f32 weights, by the products of model/gemm.h (where weights are bf16, activations are rounded to
/// it).
/// @param activations  of packed layers
void multiply(std::span<const LinearProduct> products, LayerInput& input, Activations activations);

}  // namespace scalebits
