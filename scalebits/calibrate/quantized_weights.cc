// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/quantized_weights.h"

#include <algorithm>
#include <cstring>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/calibrate/column_moments.h"
#include "scalebits/model/vocab.h"

namespace scalebits {

QuantizedWeights::QuantizedWeights(std::shared_ptr<const DenseWeights> dense, QuantizedLayers layers,
                                   const GroupQuantizer& quantizer, const ColumnMoments& moments)
    : ModelWeights(dense->shared_checkpoint(), dense->config(), dense->dtype(), dense->order().residual),
      dense_(std::move(dense)),
      layers_(std::move(layers)),
      quantizer_(&quantizer),
      params_(layers_.items.size()) {
  SCALEBITS_CHECK(moments.empty() || moments.size() == layers_.items.size());
  for (int64_t l = 0; l < config().n_layers; ++l) item_of_.emplace_back(slots(config(), l).size(), -1);
  for (size_t i = 0; i < layers_.items.size(); ++i) {
    const auto& item = layers_.items[i];
    item_of_[static_cast<size_t>(item.layer)][item.slot.index()] = static_cast<int64_t>(i);
    const auto n = static_cast<size_t>(item.grid.n_blocks());
    bits_.emplace_back(n, uint8_t{0});
    importance_.push_back(
        in_stored_order(moments, i, config(), dense_->order(), item.layer, item.slot, item.order.cols));
  }
  for (const LinearPlan& matrix : vocab_plans(config(), layers_.items.front().grid.spec(), layers_.vocab)) {
    vocab_[matrix.name] = std::make_shared<const PackedMatrix>(pack_vocab(*dense_, matrix, quantizer));
  }
}

std::shared_ptr<const PackedLinear> QuantizedWeights::packed_vocab(const char* name) const {
  const auto found = vocab_.find(name);
  if (found == vocab_.end()) return nullptr;
  return std::make_shared<PackedLinear>(found->second->view(), at::Tensor(), found->second, name);
}

at::Tensor QuantizedWeights::reference_logits(const at::Tensor& hidden) const {
  return layers_.vocab.head == kDenseBits ? logits(hidden) : dense_->logits(hidden);
}

at::Tensor QuantizedWeights::stored_weight(size_t item) const {
  const auto& i = layers_.items[item];
  return in_order(dense_->weight(i.layer, i.slot), i.order);
}

void QuantizedWeights::allocate(Fitted& fitted, const BlockGrid& grid) {
  int64_t total = 0;
  for (int64_t b = 0; b < grid.n_blocks(); ++b) {
    fitted.first.push_back(total);
    total += grid.rows(b / grid.col_blocks()).count * grid.groups(b % grid.col_blocks());
  }
  fitted.groups.resize(static_cast<size_t>(total));
  fitted.done.resize(fitted.first.size());
}

void QuantizedWeights::set_bits(size_t item, std::vector<uint8_t> bits) {
  SCALEBITS_CHECK(bits.size() == bits_[item].size());
  bits_[item] = std::move(bits);
}

void QuantizedWeights::set_uniform(int bits) {
  for (auto& b : bits_) std::fill(b.begin(), b.end(), static_cast<uint8_t>(bits));
}

std::span<const GroupParams> QuantizedWeights::params(size_t item, int64_t block, int bits,
                                                      const at::Tensor& weight) const {
  const BlockGrid& grid = layers_.items[item].grid;
  Fitted& fitted = params_[item][static_cast<size_t>(bits - 1)];
  std::call_once(fitted.allocated, [&] { allocate(fitted, grid); });
  const Extent rows = grid.rows(block / grid.col_blocks()), cols = grid.cols(block % grid.col_blocks());
  const int64_t group = grid.spec().group_size, groups = grid.groups(block % grid.col_blocks());
  const std::span<GroupParams> kept(fitted.groups.data() + fitted.first[static_cast<size_t>(block)],
                                    static_cast<size_t>(rows.count * groups));
  if (fitted.done[static_cast<size_t>(block)] != 0) return kept;
  const float* w = weight.data_ptr<float>();
  const std::span<const float> importance = importance_[item];
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t col = cols.first + g * group;
      const auto n = static_cast<size_t>(std::min(group, cols.count - g * group));
      kept[static_cast<size_t>(r * groups + g)] =
          quantizer_->fit({w + (rows.first + r) * grid.in_features() + col, n}, of_columns(importance, col, n), bits);
    }
  }
  fitted.done[static_cast<size_t>(block)] = 1;
  return kept;
}

void QuantizedWeights::quantize_block_row(size_t item, int64_t block, int bits, const at::Tensor& weight, int64_t row,
                                          float* out) const {
  const BlockGrid& grid = layers_.items[item].grid;
  const Extent rows = grid.rows(block / grid.col_blocks()), cols = grid.cols(block % grid.col_blocks());
  const float* w = weight.data_ptr<float>() + (rows.first + row) * grid.in_features() + cols.first;
  if (bits == 0) {
    std::memcpy(out, w, static_cast<size_t>(cols.count) * sizeof(float));
    return;
  }
  const int64_t group = grid.spec().group_size, groups = grid.groups(block % grid.col_blocks());
  const std::span<const GroupParams> all = params(item, block, bits, weight);
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t n = std::min(group, cols.count - g * group);
    fake_quantize_row({w + g * group, static_cast<size_t>(n)}, all[static_cast<size_t>(row * groups + g)], bits,
                      out + g * group);
  }
}

std::shared_ptr<const Linear> QuantizedWeights::linear(int64_t layer, Slot slot) const {
  const int64_t index = item_of(layer, slot);
  if (index < 0) return dense_->linear(layer, slot);
  const auto item = static_cast<size_t>(index);
  const BlockGrid& grid = layers_.items[item].grid;
  const at::Tensor w = stored_weight(item);
  at::Tensor quantized = at::empty_like(w);
  parallel_for(grid.n_blocks(), [&](int64_t block) {
    const Extent rows = grid.rows(block / grid.col_blocks()), cols = grid.cols(block % grid.col_blocks());
    for (int64_t r = 0; r < rows.count; ++r) {
      float* out = quantized.data_ptr<float>() + (rows.first + r) * grid.in_features() + cols.first;
      quantize_block_row(item, block, bits_[item][static_cast<size_t>(block)], w, r, out);
    }
  });
  const at::Tensor b = dense_->bias(layer, slot);
  quantized = undo_order(quantized, layers_.items[item].order);
  return std::make_shared<DenseLinear>(quantized.to(dtype()), b.defined() ? b.to(dtype()) : b);
}

}  // namespace scalebits
