// SPDX-License-Identifier: Apache-2.0
/// tiny-gqa at random widths, seen through calibrate/ and, independently, through the float64 decoder.
#pragma once

#include "scalebits/base/rng.h"
#include "scalebits/calibrate/sensitivity.h"
#include "tests/model/plain_decoder.h"

namespace scalebits::test {

/// Q_bits of every group, formed from fit() and one code at a time. @param bits per block, 0 = unchanged
/// @param importance  of every column, or empty
inline at::Tensor quantized_by_groups(const at::Tensor& w, const BlockGrid& grid, const std::vector<uint8_t>& bits,
                                      const GroupQuantizer& quantizer, const std::vector<float>& importance = {}) {
  at::Tensor out = w.clone();
  for (int64_t r = 0; r < grid.out_features(); ++r) {
    const float* row = w.data_ptr<float>() + r * grid.in_features();
    for (int64_t block = 0; block < grid.n_blocks(); ++block) {
      const Extent rows = grid.rows(block / grid.col_blocks()), cols = grid.cols(block % grid.col_blocks());
      const int b = bits[static_cast<size_t>(block)];
      if (b == 0 || r < rows.first || r >= rows.first + rows.count) continue;
      for (int64_t c = cols.first; c < cols.first + cols.count; c += grid.spec().group_size) {
        const int64_t n = std::min<int64_t>(grid.spec().group_size, cols.first + cols.count - c);
        std::vector<float> counts;
        for (int64_t i = c; !importance.empty() && i < c + n; ++i) counts.push_back(importance[static_cast<size_t>(i)]);
        const GroupParams params = quantizer.fit({row + c, static_cast<size_t>(n)}, counts, b);
        for (int64_t i = c; i < c + n; ++i) out[r][i] = decode(round_code(row[i], params, b), params, b);
      }
    }
  }
  return out;
}

/// Blocks of 32 x 40 with groups of 20: every kind of ragged edge occurs in 96 x 64, 48 x 64 and 64 x 96.
inline constexpr BlockSpec kSmallBlocks{.rows = 32, .cols = 40, .group_size = 20};

/// All linear layers of tiny-gqa; with `shuffle`, each in a random order of its own.
inline QuantizedLayers tiny_layers_in_order(uint64_t shuffle) {
  QuantizedLayers layers = find_quantized_layers(read_hf_config(tiny_gqa()), kSmallBlocks);
  if (shuffle == 0) return layers;
  reserve_orders(layers, true, true, false);
  Rng rng(shuffle);
  for (auto& item : layers.items) {
    for (Permutation* perm : {&item.order.rows, &item.order.cols}) {
      for (size_t i = perm->size(); i > 1; --i) std::swap((*perm)[i - 1], (*perm)[rng.below(i)]);
    }
  }
  return layers;
}

/// [item][in_features], each drawn from 1/64 to 64, evenly by its logarithm.
inline ColumnMoments random_moments(const QuantizedLayers& layers, uint64_t seed) {
  Rng rng(seed);
  ColumnMoments moments;
  for (const auto& item : layers.items) {
    std::vector<float>& of = moments.emplace_back(static_cast<size_t>(item.grid.in_features()));
    for (float& m : of) m = static_cast<float>(std::exp2(12.0 * rng.uniform() - 6.0));
  }
  return moments;
}

struct QuantizedCase {
  /// @param shuffle  0 = the model's own order
  /// @param weighed  errors count by random moments of their columns
  explicit QuantizedCase(const std::string& quantizer = "clip", uint64_t shuffle = 0, bool weighed = false)
      : quantizer(group_quantizer(quantizer)),
        dense(open_dense_model(tiny_gqa())),
        layers(tiny_layers_in_order(shuffle)),
        moments(weighed ? random_moments(layers, 17) : ColumnMoments()),
        weights(dense, layers, this->quantizer, moments) {}

  /// A matrix in the order that the item is stored in, element by element; and back.
  [[nodiscard]] at::Tensor reordered(size_t item, const at::Tensor& matrix, bool back = false) const {
    const RowColOrder& order = layers.items[item].order;
    if (order.rows.empty()) return matrix;
    at::Tensor out = at::empty_like(matrix);
    for (int64_t r = 0; r < matrix.size(0); ++r) {
      for (int64_t c = 0; c < matrix.size(1); ++c) {
        const int64_t row = order.rows[static_cast<size_t>(r)], col = order.cols[static_cast<size_t>(c)];
        if (back) {
          out[row][col] = matrix[r][c];
        } else {
          out[r][c] = matrix[row][col];
        }
      }
    }
    return out;
  }

  /// Each block's width drawn from low..high.
  void draw_widths(int low, int high, uint64_t seed) {
    Rng rng(seed);
    for (size_t i = 0; i < layers.items.size(); ++i) {
      std::vector<uint8_t> bits(static_cast<size_t>(layers.items[i].grid.n_blocks()));
      for (auto& b : bits)
        b = static_cast<uint8_t>(low + static_cast<int>(rng.below(static_cast<uint64_t>(high - low + 1))));
      weights.set_bits(i, bits);
    }
  }
  [[nodiscard]] at::Tensor stored(size_t item) const {
    return reordered(item, dense->weight(layers.items[item].layer, layers.items[item].slot));
  }
  /// Q of a matrix, in its stored order, with the current widths changed by `by` wherever the result is in 1..8 (0
  /// stays).
  [[nodiscard]] at::Tensor moved(size_t item, int by) const {
    std::vector<uint8_t> bits = weights.bits(item);
    for (auto& b : bits) {
      if (b != 0 && b + by >= kMinBits && b + by <= kMaxBits) b = static_cast<uint8_t>(b + by);
    }
    return quantized_by_groups(stored(item), layers.items[item].grid, bits, quantizer, stored_moments(item));
  }
  /// In the stored order, one by one.
  [[nodiscard]] std::vector<float> stored_moments(size_t item) const {
    if (moments.empty()) return {};
    std::vector<float> stored = moments[item];
    const Permutation& cols = layers.items[item].order.cols;
    for (size_t c = 0; c < cols.size(); ++c) stored[c] = moments[item][static_cast<size_t>(cols[c])];
    return stored;
  }
  /// The float64 decoder with the current quantized weights.
  [[nodiscard]] PlainDecoder plain() const {
    PlainDecoder decoder(tiny_gqa());
    for (size_t i = 0; i < layers.items.size(); ++i) {
      decoder.weights[layers.items[i].name + ".weight"] = reordered(i, moved(i, 0), true).to(at::kDouble);
    }
    return decoder;
  }

  const GroupQuantizer& quantizer;
  std::shared_ptr<const DenseWeights> dense;
  QuantizedLayers layers;
  ColumnMoments moments;
  QuantizedWeights weights;
};

/// Sequences of several lengths over tiny-gqa's vocabulary.
inline std::vector<Sequence> random_sequences(size_t n, size_t longest, uint64_t seed) {
  std::vector<Sequence> sequences(n);
  for (size_t i = 0; i < n; ++i) {
    Rng rng(seed, i);
    sequences[i].resize(longest - 2 * (i % 3));
    for (TokenId& id : sequences[i]) id = static_cast<TokenId>(rng.below(128));
  }
  return sequences;
}

/// KL(reference || decoder) summed over the positions of one sequence, differentiable.
inline at::Tensor plain_kl(const PlainDecoder& reference, const PlainDecoder& decoder, const Sequence& ids) {
  const at::Tensor log_p = at::log_softmax(reference.logits(ids).detach(), -1);
  return (log_p.exp() * (log_p - at::log_softmax(decoder.logits(ids), -1))).sum();
}

inline at::Tensor block_of(const at::Tensor& matrix, const BlockGrid& grid, int64_t block) {
  const Extent rows = grid.rows(block / grid.col_blocks()), cols = grid.cols(block % grid.col_blocks());
  return matrix.narrow(0, rows.first, rows.count).narrow(1, cols.first, cols.count);
}

}  // namespace scalebits::test
