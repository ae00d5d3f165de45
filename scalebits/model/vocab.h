// SPDX-License-Identifier: Apache-2.0
/// The vocabulary matrices, embedding and head: what a plan that packs them means for a model. Their columns are the
/// residual channels, in the folded order.
#pragma once

#include "scalebits/model/weights.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {

/// The vocabulary matrices that are packed, the embedding first, each of one width. None where both stay dense; only
/// the embedding where the head is tied to it.
/// @throws FormatError when a tied model is to have two widths
std::vector<LinearPlan> vocab_plans(const ModelConfig& config, BlockSpec spec, VocabBits bits);

/// The packed form of one of them, each group rounded for itself: no error compensation.
PackedMatrix pack_vocab(const DenseWeights& weights, const LinearPlan& matrix, const GroupQuantizer& quantizer);

}  // namespace scalebits
