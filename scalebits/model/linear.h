// SPDX-License-Identifier: Apache-2.0
/// A linear layer, dense or packed, behind one interface.
#pragma once

#include <memory>

#include "scalebits/format/packed.h"
#include "scalebits/format/permutation.h"
#include "scalebits/model/torch.h"

namespace scalebits {

/// What one linear layer saw in one call: its inputs, and after a backward pass what forms its weight gradient, dy^T x.
struct LinearTap {
  at::Tensor x;   ///< [T, in_features] f32
  at::Tensor dy;  ///< [T, out_features] f32
};

/// y = x W^T + b
class Linear {
 public:
  virtual ~Linear() = default;
  [[nodiscard]] virtual int64_t out_features() const = 0;
  [[nodiscard]] virtual int64_t in_features() const = 0;
  /// @param x   [..., in_features], the layer's compute dtype
  /// @param tap filled during backward where x is part of a graph, else (x only) here; nullptr where no one wants it
  [[nodiscard]] virtual at::Tensor forward(const at::Tensor& x, LinearTap* tap) const = 0;
};

class DenseLinear final : public Linear {
 public:
  /// @param weight [out_features, in_features] f32 or bf16, contiguous; @param bias [out_features] or undefined
  explicit DenseLinear(at::Tensor weight, at::Tensor bias = {});
  [[nodiscard]] int64_t out_features() const override { return weight_.size(0); }
  [[nodiscard]] int64_t in_features() const override { return weight_.size(1); }
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, LinearTap* tap) const override;
  [[nodiscard]] const at::Tensor& weight() const { return weight_; }
  [[nodiscard]] const at::Tensor& bias() const { return bias_; }

 private:
  at::Tensor weight_, bias_;
};

/// What products with packed weights take of the activations: themselves, or 8 bits (kernels/int8_activations.h), which
/// is several times faster and what generation uses.
enum class Activations { kFloat, kInt8 };

/// Runs on the packed bytes in place. Inference only; f32 in and out.
class PackedLinear final : public Linear {
 public:
  /// @param owner keeps the bytes behind `view` alive
  /// @param order of its own in which the matrix is stored, checked; empty = as stored
  PackedLinear(PackedView view, at::Tensor bias, std::shared_ptr<const void> owner, const std::string& name,
               RowColOrder order = {}, Activations activations = Activations::kFloat);
  [[nodiscard]] int64_t out_features() const override { return view_.grid.out_features(); }
  [[nodiscard]] int64_t in_features() const override { return view_.grid.in_features(); }
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, LinearTap* tap) const override;
  /// All weights, in the model's order. [out_features, in_features] f32
  [[nodiscard]] at::Tensor dense() const;
  /// The exact weights of some rows, [rows.size(), in_features] f32. @param rows each in 0..out_features - 1
  [[nodiscard]] at::Tensor decoded(std::span<const int32_t> rows) const;
  void decode_into(std::span<const int32_t> rows, std::span<float> out) const;
  [[nodiscard]] const PackedView& view() const { return view_; }
  [[nodiscard]] const PanelOffsets& panels() const { return panels_; }
  [[nodiscard]] const at::Tensor& bias() const { return bias_; }
  [[nodiscard]] const RowColOrder& order() const { return order_; }
  [[nodiscard]] Activations activations() const { return activations_; }

 private:
  PackedView view_;
  PanelOffsets panels_;
  at::Tensor bias_;
  std::shared_ptr<const void> owner_;
  RowColOrder order_;
  Activations activations_;
};

/// The same layer with dense f32 weights where it is packed and its activations stay exact, else itself: for several
/// products of many tokens each, every one of which would decode all of it. Decoded on all threads.
std::shared_ptr<const Linear> decoded_once(std::shared_ptr<const Linear> linear);

}  // namespace scalebits
