// SPDX-License-Identifier: Apache-2.0
/// Folds channel orders into the weights on both sides of each axis, so that the function stays the same and nothing is
/// left to do at run time (docs/design.md, "Reordering").
#pragma once

#include "scalebits/format/plan.h"
#include "scalebits/model/names.h"

namespace scalebits {

/// What `order` means for the rows (output channels) and columns (input channels) of layer `layer`'s linear layer
/// `slot`.
RowColOrder folded_order(const ModelConfig& config, const FoldedOrder& order, int64_t layer, Slot slot);

/// Every part is empty or a permutation of the length that the config asks for.
/// @throws FormatError
void check_folded_order(const ModelConfig& config, const FoldedOrder& order);

bool is_permutation_of(const Permutation& perm, int64_t n);
Permutation inverse(const Permutation& perm);
/// first `inner`, then `outer`: result[i] = inner[outer[i]]. Either may be empty.
Permutation compose(const Permutation& inner, const Permutation& outer);

/// Entries of `x` along dimension `dim` in the new order; `x` itself where perm is empty.
at::Tensor permute_dim(const at::Tensor& x, int64_t dim, const Permutation& perm);

/// A matrix with its rows and columns in another order, and back.
at::Tensor in_order(const at::Tensor& matrix, const RowColOrder& order);
at::Tensor undo_order(const at::Tensor& matrix, const RowColOrder& order);

}  // namespace scalebits
