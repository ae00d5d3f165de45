// SPDX-License-Identifier: Apache-2.0
/// A plan: the whole result of a search. `plan + checkpoint -> packed model` is a pure function.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scalebits/format/grid.h"
#include "scalebits/format/permutation.h"

namespace scalebits {

/// Permutations folded into neighbouring weights, so that nothing is left to do at run time (docs/design.md,
/// "Reordering").
struct FoldedOrder {
  struct Layer {
    Permutation mlp;                   ///< [d_ff] rows of gate and up, columns of down
    std::vector<Permutation> experts;  ///< the same of every expert, in a layer that has experts
    std::vector<Permutation> value;    ///< per (old) KV head [head_dim]: rows of v, columns of o for its query heads
    Permutation kv_heads;              ///< [n_kv_heads] order of KV groups
    std::vector<Permutation> query_heads;  ///< per (old) KV head [n_heads / n_kv_heads]: order of its query heads
    bool operator==(const Layer&) const = default;
  };
  Permutation residual;  ///< [d_model]
  std::vector<Layer> layers;
  bool operator==(const FoldedOrder&) const = default;
};

/// Widths of one linear layer, and (mode `fused`) an order of its own.
struct LinearPlan {
  std::string name;  ///< Hugging Face name without `.weight`
  BlockGrid grid;
  std::vector<uint8_t> bits;       ///< [n_blocks]
  Permutation row_perm, col_perm;  ///< mode `fused`: stored beside the codes and counted in the bytes
  /// col_perm is that of the nearest layer before it that has one of its own, and is stored and counted there (tie).
  bool shares_cols = false;

  [[nodiscard]] int64_t bytes() const;      ///< every byte of the packed layer
  [[nodiscard]] int64_t code_bits() const;  ///< sum over real weights of the block's width
  [[nodiscard]] RowColOrder order() const { return {row_perm, col_perm}; }
  bool operator==(const LinearPlan&) const = default;
};

/// Width that stands for "left as stored" wherever a matrix may stay dense.
inline constexpr int kDenseBits = 16;

/// Widths of the vocabulary matrices, the same in every block: 2..8, or kDenseBits. Where embedding and head are tied
/// there is one matrix, and both are the same.
struct VocabBits {
  int embed = kDenseBits, head = kDenseBits;
  bool operator==(const VocabBits&) const = default;
};

/// One bit leaves a row of the embedding two values for each group: not offered.
constexpr bool is_vocab_width(int64_t bits) { return (bits >= 2 && bits <= kMaxBits) || bits == kDenseBits; }

struct Plan {
  BlockSpec spec;
  std::string quantizer = "clip";
  std::string method = "search";
  std::string reorder = "none";
  std::string reorder_mode = "folded";  ///< folded: `order`; fused: row_perm and col_perm of each layer
  std::string tie = "none";             ///< fused: layers that multiply the same activations have one col_perm
  std::string model_fingerprint;  ///< hash of the dense checkpoint's tensor names, shapes and linear weights' bytes
  std::string calib_hash;         ///< hash of the calibration tokens
  uint64_t seed = 0;
  FoldedOrder order;
  VocabBits vocab;                  ///< beside the budget: bytes() and bpw() are of the linear layers
  std::vector<LinearPlan> linears;  ///< in model order

  [[nodiscard]] int64_t n_weights() const;
  [[nodiscard]] int64_t bytes() const;
  [[nodiscard]] double bpw() const;        ///< 8 * bytes / n_weights
  [[nodiscard]] double code_bits() const;  ///< mean width over real weights
};

/// Every permutation is one (right length, each index once), found in mode `fused` only, shared where the layer says
/// so; every width is in 1..8 (vocabulary: VocabBits).
/// @throws FormatError naming the linear layer at fault
void check_plan(const Plan& plan);

}  // namespace scalebits
