// SPDX-License-Identifier: Apache-2.0
/// Sensitivities of blocks and channels: one backward pass at the quantized weights, layer by layer, in which each
/// weight gradient is formed tile by tile, contracted and dropped (docs/design.md, "Sensitivity").
#pragma once

#include <array>
#include <filesystem>
#include <vector>

#include "scalebits/base/log.h"
#include "scalebits/calibrate/forward.h"
#include "scalebits/calibrate/quantized_weights.h"

namespace scalebits {

/// Of one block at its current width b, with g the gradient of the mean loss (nats per position) at the quantized
/// weights and F the Fisher term of each weight (see GradientPass). Moves outside 1..8 give 0.
struct BlockSensitivity {
  double up = 0;         ///< <g, Q_{b+1} - Q_b>
  double down = 0;       ///< <g, Q_{b-1} - Q_b>
  double restore = 0;    ///< <g, W - Q_b>, the paper's s_i before the absolute value
  double err = 0;        ///< <F, (Q_b - W)^2>
  double err_up = 0;     ///< <F, (Q_{b+1} - W)^2>
  double err_down = 0;   ///< <F, (Q_{b-1} - W)^2>
  double move_up = 0;    ///< <F, (Q_{b+1} - Q_b)^2>
  double move_down = 0;  ///< <F, (Q_{b-1} - Q_b)^2>
  double fisher = 0;     ///< sum of F
};

/// Of one linear layer, blocks and channels in its stored order. Channel scores: sums over the other axis.
struct LinearSensitivity {
  std::vector<BlockSensitivity> blocks;
  std::vector<double> row_score, col_score;    ///< sum |g * (W - Q_b)|
  std::vector<double> row_fisher, col_fisher;  ///< sum F
};

struct PassOptions {
  LossKind loss = LossKind::kKl;
  uint64_t seed = 0;  ///< kSampled: stream of drawn tokens
  /// The gradient is that of the full-precision model; errors and moves are those of the applied widths all the same.
  bool full_precision = false;
  /// What the squared errors of err, err_up and err_down count by input channel, [item][in_features] in storage order
  /// (column_shares); nullptr = 1.
  const std::vector<std::vector<float>>* column_shares = nullptr;
  /// Every token counts for every expert (LayerTaps::every_expert).
  bool every_expert = false;
  /// Activations beyond this many bytes are kept in an unnamed file in spill_dir.
  int64_t activation_bytes = int64_t{1} << 28;
  std::filesystem::path spill_dir = std::filesystem::temp_directory_path();
  Log* log = nullptr;
};

struct PassResult {
  std::vector<LinearSensitivity> linears;  ///< as weights.layers().items
  double loss = 0;                         ///< mean nats per position
};

/// One forward and one backward pass over the sequences at the current widths.
///
/// F is the sum over sequences of the squared gradient of the sequence's summed loss, divided by the number of
/// positions: with loss kSampled an unbiased estimate of the diagonal of the Fisher matrix of the mean loss. Results do
/// not depend on the number of threads. Memory: two layers of f32 weights, gradients and squares of one layer, the
/// inputs of every layer (bounded by activation_bytes), and one microbatch of activations.
/// @throws Error naming the tensor and index of the first NaN or Inf in a gradient
PassResult gradient_pass(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                         std::span<const at::Tensor> reference, const PassOptions& options);

/// [item][sequence] of [T]: the mean over a layer's outputs of the squared gradient of the sequence's summed loss at
/// that output and token. -1 where the layer is an expert's that the token does not go through.
using TokenWeights = std::vector<std::vector<at::Tensor>>;

/// One forward and one backward pass as gradient_pass, for the gradients at the layers' outputs alone.
TokenWeights token_weights(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                           std::span<const at::Tensor> reference, const PassOptions& options);

/// gradient_pass, with every Fisher term (err, move, fisher, row_fisher, col_fisher) from a second pass over the first
/// `fisher_sequences` of the sequences with targets drawn from the model itself (kSampled). The squares of the KL
/// gradient are not the curvature of the loss: they fall with the KL, so at 3 bits and more they are far too small
/// (bench/log/2026-11-22-score-rank.md).
PassResult sensitivity_pass(const QuantizedWeights& weights, std::span<const Sequence> sequences,
                            std::span<const at::Tensor> reference, const PassOptions& options,
                            int64_t fisher_sequences);

}  // namespace scalebits
