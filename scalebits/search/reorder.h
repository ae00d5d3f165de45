// SPDX-License-Identifier: Apache-2.0
/// Channel orders from channel scores, so that sensitive weights gather in the top-left corner of every matrix.
#pragma once

#include <string_view>

#include "scalebits/calibrate/sensitivity.h"

namespace scalebits {

enum class Reorder { kNone, kRows, kCols, kBoth };

/// @throws InvalidArgument listing none, rows, cols, both
Reorder parse_reorder(std::string_view name);

/// Which of the two channel scores of LinearSensitivity to sort by.
enum class ChannelScore { kElement, kFisher };

/// Sorts every axis that can be folded by falling score; ties keep their order. The score of a channel is the sum over
/// the matrices that share the axis: their row scores where it is an output axis (`rows`), their column scores where it
/// is an input axis (`cols`), or both.
/// @param result scores of `weights`, whose own folded order must be the identity
FoldedOrder folded_order_by_score(const QuantizedWeights& weights, const PassResult& result, Reorder reorder,
                                  ChannelScore kind = ChannelScore::kElement);

}  // namespace scalebits
