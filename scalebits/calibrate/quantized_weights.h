// SPDX-License-Identifier: Apache-2.0
/// A dense model seen through the widths of a plan: every linear layer hands out Q_b(W), made on demand; embedding and
/// head are those that will be written. Groups and blocks are those of the stored order; what is handed out is in the
/// model's own.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "scalebits/calibrate/quantized_layers.h"
#include "scalebits/model/weights.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {

class QuantizedWeights final : public ModelWeights {
 public:
  /// @param moments  by layers.items: the weights of squared errors that groups are fitted by, or empty
  QuantizedWeights(std::shared_ptr<const DenseWeights> dense, QuantizedLayers layers, const GroupQuantizer& quantizer,
                   const ColumnMoments& moments = {});

  [[nodiscard]] std::shared_ptr<const Linear> linear(int64_t layer, Slot slot) const override;
  [[nodiscard]] at::Tensor reference_logits(const at::Tensor& hidden) const override;
  [[nodiscard]] const DenseWeights& dense() const { return *dense_; }
  [[nodiscard]] const QuantizedLayers& layers() const { return layers_; }
  [[nodiscard]] const GroupQuantizer& quantizer() const { return *quantizer_; }

  /// W of layers().items[item] in the order that it is stored in; the functions below take it.
  [[nodiscard]] at::Tensor stored_weight(size_t item) const;
  /// [in_features] in that order: what squared errors count there; empty = all alike.
  [[nodiscard]] std::span<const float> importance(size_t item) const { return importance_[item]; }

  /// Widths of layers().items[item], [n_blocks]; 0 = left at full precision.
  void set_bits(size_t item, std::vector<uint8_t> bits);
  void set_uniform(int bits);
  [[nodiscard]] const std::vector<uint8_t>& bits(size_t item) const { return bits_[item]; }

  /// Scale and zero point of every group of one block at one width, [rows.count, groups]; fitted at the first call and
  /// kept. Different blocks may be asked for from different threads.
  [[nodiscard]] std::span<const GroupParams> params(size_t item, int64_t block, int bits,
                                                    const at::Tensor& weight) const;
  /// Q_bits of row `row` (within the block) and all its columns. @param out [cols.count]
  void quantize_block_row(size_t item, int64_t block, int bits, const at::Tensor& weight, int64_t row,
                          float* out) const;

  /// items index of a linear layer, or -1 where it is not quantized
  [[nodiscard]] int64_t item_of(int64_t layer, Slot slot) const {
    return item_of_[static_cast<size_t>(layer)][slot.index()];
  }

 protected:
  [[nodiscard]] std::shared_ptr<const PackedLinear> packed_vocab(const char* name) const override;

 private:
  std::shared_ptr<const DenseWeights> dense_;
  QuantizedLayers layers_;
  const GroupQuantizer* quantizer_;
  std::map<std::string, std::shared_ptr<const PackedMatrix>> vocab_;  ///< by name, those that are not dense
  std::vector<std::vector<int64_t>> item_of_;                         ///< [layer][Slot::index]
  std::vector<std::vector<uint8_t>> bits_;
  std::vector<std::vector<float>> importance_;  ///< [item]
  /// Fitted groups of one matrix at one width: one array, because small ones for each block would double the memory.
  struct Fitted {
    std::once_flag allocated;
    std::vector<GroupParams> groups;  ///< block after block
    std::vector<int64_t> first;       ///< of each block
    std::vector<uint8_t> done;        ///< per block
  };
  static void allocate(Fitted& fitted, const BlockGrid& grid);
  mutable std::vector<std::array<Fitted, kMaxBits>> params_;  ///< [item][bits - 1]
};

}  // namespace scalebits
