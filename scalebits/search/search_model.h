// SPDX-License-Identifier: Apache-2.0
/// The model as a search sees it: quantized at the widths that are tried, with its loss on held-out text and its
/// gradients on slices of the calibration text.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "scalebits/search/search.h"

namespace scalebits {

class SearchModel {
 public:
  /// Keeps references to all but `checkpoint` and `start`. One full-precision pass over the calibration set.
  SearchModel(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config,
              const QuantizedLayers& layers, const GroupQuantizer& quantizer, const CalibSet& calib,
              const SearchOptions& options, Widths start, Log& log);

  /// Reads the dense model in another channel order. Widths are to be applied again.
  void open(FoldedOrder order, const FusedOrder& fused = {});
  /// Takes the errors of a block as what error compensation will leave of them (column_shares), in this channel order.
  void expect_compensation();
  void apply(const Widths& widths);
  [[nodiscard]] const Widths& widths() const { return widths_; }
  [[nodiscard]] const QuantizedWeights& weights() const { return *weights_; }

  /// Loss of the search on held-out text at the applied widths, nats per position.
  [[nodiscard]] double heldout() const;
  /// The same as divergence from the full-precision model, whatever the search follows.
  [[nodiscard]] double heldout_kl() const;

  /// Gradient of the search's loss at the applied widths (method threshold: of the cross-entropy; score fisher: of
  /// drawn targets, at full precision, with the errors of the applied widths), on the sequences of slice `index`: a
  /// window over the gradient part that moves on with the index. The first one in this channel order and the latest are
  /// kept and not computed again; valid until the next call. Slice 0 in the stored channel order at the widths to start
  /// from is what --stats keeps.
  const PassResult& gradient(int64_t index);

 private:
  struct Gradient {
    int64_t index = 0;
    Widths widths;
    PassResult scores;
  };
  [[nodiscard]] LossKind gradient_loss() const;
  [[nodiscard]] PassResult measure(int64_t index) const;
  [[nodiscard]] PassResult measure_or_load(int64_t index) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  const ModelConfig& config_;
  const QuantizedLayers& layers_;
  const GroupQuantizer& quantizer_;
  const CalibSet& calib_;
  const SearchOptions& options_;
  const Widths start_;
  Log& log_;
  std::vector<at::Tensor> gradient_reference_, heldout_reference_;
  std::unique_ptr<QuantizedWeights> weights_;
  Widths widths_;
  bool stored_order_ = true;
  std::vector<std::vector<float>> column_shares_;  ///< empty = none
  std::optional<Gradient> first_, latest_;
};

}  // namespace scalebits
