// SPDX-License-Identifier: Apache-2.0
/// Which linear layers of a model are quantized, and which of them at a width that is given.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "scalebits/format/plan.h"
#include "scalebits/model/weights.h"

namespace scalebits {

/// In model order; and how wide the vocabulary matrices are beside them.
struct QuantizedLayers {
  struct Item {
    std::string name;
    int64_t layer = 0;
    Slot slot = Proj::kQ;
    BlockGrid grid;
    int fixed_bits = 0;  ///< width of all its blocks, which no search may move; 0 = free
    /// Mode `fused`: the order that it is quantized and stored in. Until a search has found it, the identity, because
    /// its bytes count from the beginning. Empty = as in the model, and not stored.
    RowColOrder order = {};
    /// order.cols is that of the nearest item before it that has one of its own, and stored there (tie).
    bool shares_cols = false;

    /// Its width where all free blocks have `bits`.
    [[nodiscard]] int bits_or_fixed(int bits) const { return fixed_bits != 0 ? fixed_bits : bits; }
    /// Bytes of its permutations in the file.
    [[nodiscard]] int64_t order_bytes() const {
      return permutation_bytes(order.rows) + (shares_cols ? 0 : permutation_bytes(order.cols));
    }
  };
  std::vector<Item> items;
  VocabBits vocab;
};

/// Width of all linear layers whose name a regular expression is found in.
struct TypeRule {
  std::string pattern;
  int bits = 0;  ///< 1..8; 0 = left dense
};

/// [item][in_features], channels in the model's own order: what squared errors of weights count by their column
/// (column_moments.h); empty = all alike.
using ColumnMoments = std::vector<std::vector<float>>;

/// "REGEX=BITS", BITS 1..8, or 16 or "none" for dense. @throws InvalidArgument
TypeRule parse_type_rule(std::string_view text);

/// All linear layers of the decoder, but for those whose name a regular expression of `ignore` is found in, and those
/// that the last rule found in their name leaves dense.
/// @throws InvalidArgument when an expression is malformed, a rule's is found nowhere, or nothing is left
QuantizedLayers find_quantized_layers(const ModelConfig& config, BlockSpec spec,
                                      const std::vector<std::string>& ignore = {},
                                      const std::vector<TypeRule>& rules = {});

/// Orders of their own, [item].
using FusedOrder = std::vector<RowColOrder>;

/// Gives every item the identity as its order, to be sorted by a search: of its rows, of its columns. @param tie  items
/// of the same input share one order of columns
void reserve_orders(QuantizedLayers& layers, bool rows, bool cols, bool tie);
/// The layers in these orders, which are as long as those that they have. Empty = the orders that they have.
QuantizedLayers with_orders(QuantizedLayers layers, const FusedOrder& orders);

}  // namespace scalebits
