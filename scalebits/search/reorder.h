// SPDX-License-Identifier: Apache-2.0
/// Channel orders from channel scores, so that sensitive weights gather in the top-left corner of every matrix.
#pragma once

#include <string_view>

#include "scalebits/calibrate/sensitivity.h"

namespace scalebits {

enum class Reorder { kNone, kRows, kCols, kBoth };
/// Folded into neighbouring weights, or stored with each matrix and applied while the product runs.
enum class ReorderMode { kFolded, kFused };

/// @throws InvalidArgument listing none, rows, cols, both
Reorder parse_reorder(std::string_view name);
/// @throws InvalidArgument listing folded, fused
ReorderMode parse_reorder_mode(std::string_view name);
/// Whether layers of the same input share the order of their columns. @throws InvalidArgument listing none, fused
bool parse_tie(std::string_view name);

/// Which of the two channel scores of LinearSensitivity to sort by.
enum class ChannelScore { kElement, kFisher };

/// Sorts every axis that can be folded by falling score; ties keep their order. The score of a channel is the sum over
/// the matrices that share the axis: their row scores where it is an output axis (`rows`), their column scores where it
/// is an input axis (`cols`), or both.
/// @param result scores of `weights`, whose own folded order must be the identity
FoldedOrder folded_order_by_score(const QuantizedWeights& weights, const PassResult& result, Reorder reorder,
                                  ChannelScore kind = ChannelScore::kElement);

/// Sorts the rows and columns of every item that has an order of its own by falling score, ties in their order. Items
/// that share columns are sorted by the sum of their scores.
/// @param result scores of `layers` in their reserved orders, the identity
FusedOrder fused_order_by_score(const QuantizedLayers& layers, const PassResult& result,
                                ChannelScore kind = ChannelScore::kElement);

}  // namespace scalebits
