// SPDX-License-Identifier: Apache-2.0
/// The weights of one model, handed out layer by layer from a mapped checkpoint: dense, dense with folded orders, or
/// packed. Nothing but what is handed out is held in memory.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "scalebits/io/packed_config.h"
#include "scalebits/io/safetensors.h"
#include "scalebits/io/tokenizer.h"
#include "scalebits/model/fold.h"
#include "scalebits/model/transformer.h"

namespace scalebits {

class ModelWeights {
 public:
  virtual ~ModelWeights() = default;
  ModelWeights(const ModelWeights&) = delete;
  ModelWeights& operator=(const ModelWeights&) = delete;

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const Checkpoint& checkpoint() const { return *checkpoint_; }
  [[nodiscard]] const std::shared_ptr<const Checkpoint>& shared_checkpoint() const { return checkpoint_; }
  [[nodiscard]] at::ScalarType dtype() const { return dtype_; }

  /// Not to be called from several threads at once.
  [[nodiscard]] DecoderLayer layer(int64_t index) const;
  [[nodiscard]] virtual std::shared_ptr<const Linear> linear(int64_t layer, Slot slot) const = 0;
  /// From now on layers are kept once loaded (generation reads all of them for every token).
  void keep_layers() { kept_.resize(static_cast<size_t>(config_.n_layers)); }
  /// [1, T, d_model] in the compute dtype. @throws InvalidArgument for an id outside the vocabulary
  [[nodiscard]] at::Tensor embed(std::span<const TokenId> ids) const;
  /// The same in f32 without a tensor of its own. @param out [ids.size(), d_model]
  void embed_into(std::span<const TokenId> ids, std::span<float> out) const;
  /// Final norm of x [..., d_model], f32, in the channel order that head() reads.
  [[nodiscard]] at::Tensor final_hidden(const at::Tensor& x) const;
  /// Logits of final hidden states [..., d_model] -> [..., vocab_size], f32. A packed head is multiplied in place for a
  /// few rows (generation never holds a dense one) and with Activations::kInt8; otherwise it is head().
  [[nodiscard]] at::Tensor logits(const at::Tensor& hidden) const;
  /// Logits of the full-precision model for its own final hidden states: what this model is compared with.
  [[nodiscard]] virtual at::Tensor reference_logits(const at::Tensor& hidden) const { return logits(hidden); }
  [[nodiscard]] const at::Tensor& final_norm() const { return final_norm_; }
  /// What logits() multiplies for one token before its cap: a linear layer over the packed head, or over the stored
  /// bytes of a bf16 one, or over head(). Only where no order of the residual channels is folded in.
  [[nodiscard]] std::shared_ptr<const Linear> head_linear() const;
  /// [vocab_size, d_model] in the compute dtype, decoded where it is packed; loaded at the first call and kept.
  [[nodiscard]] const at::Tensor& head() const;

 protected:
  /// @param residual order of the residual channels, folded into what is handed out; empty where the file has it
  /// already
  ModelWeights(std::shared_ptr<const Checkpoint> checkpoint, ModelConfig config, at::ScalarType dtype,
               Permutation residual);
  /// f32 copy of a stored tensor, of exactly this shape; its pages leave the resident set.
  [[nodiscard]] at::Tensor load(const std::string& name, std::vector<int64_t> shape) const;
  [[nodiscard]] at::Tensor load_bias(int64_t layer, Slot slot) const;
  /// What a norm of residual channels multiplies by, in the folded order; undefined for an empty name.
  [[nodiscard]] at::Tensor load_norm(const std::string& name) const;
  /// The same of a head's channels, which have one order alone.
  [[nodiscard]] at::Tensor load_head_norm(const std::string& name) const;
  /// The stored bytes themselves where they have this dtype, else undefined. Not checked for NaN. What is kept for long
  /// uses it, so that it takes no memory beside the mapped file.
  [[nodiscard]] at::Tensor mapped(const std::string& name, std::vector<int64_t> shape, at::ScalarType dtype) const;
  [[nodiscard]] bool kept() const { return !kept_.empty(); }
  /// kEmbedMatrix or kHeadMatrix in packed form, its columns in the folded order; nullptr where it is dense. Asked for
  /// once.
  [[nodiscard]] virtual std::shared_ptr<const PackedLinear> packed_vocab(const char* /*name*/) const { return nullptr; }

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  ModelConfig config_;
  at::ScalarType dtype_;
  Permutation residual_, residual_inverse_;
  at::Tensor final_norm_;
  struct PackedVocab {
    std::shared_ptr<const PackedLinear> embed, head;  ///< one where they are tied
  };
  [[nodiscard]] const PackedVocab& vocab() const;
  mutable std::once_flag vocab_once_;
  mutable PackedVocab vocab_;
  mutable std::once_flag head_once_;
  mutable at::Tensor head_;
  mutable std::vector<std::optional<DecoderLayer>> kept_;
  /// embed_into() of a dense table, without its scale.
  void read_embedding(std::span<const TokenId> ids, std::span<float> out) const;
};

/// A dense checkpoint, its channels in a folded order.
class DenseWeights : public ModelWeights {
 public:
  /// @throws FormatError for an order that does not fit the config
  DenseWeights(std::shared_ptr<const Checkpoint> checkpoint, ModelConfig config, FoldedOrder order = {},
               at::ScalarType dtype = at::kFloat);
  [[nodiscard]] std::shared_ptr<const Linear> linear(int64_t layer, Slot slot) const override;
  /// [out_features, in_features] f32, rows and columns in the folded order.
  [[nodiscard]] at::Tensor weight(int64_t layer, Slot slot) const;
  [[nodiscard]] at::Tensor bias(int64_t layer, Slot slot) const;  ///< undefined where there is none
  /// kEmbedMatrix or kHeadMatrix, [vocab_size, d_model] f32, columns in the folded order.
  [[nodiscard]] at::Tensor vocab_weight(const std::string& name) const;
  [[nodiscard]] const FoldedOrder& order() const { return order_; }

 private:
  FoldedOrder order_;
};

/// A packed checkpoint: packed layers run on the mapped bytes in place, layers left dense are loaded.
class PackedWeights final : public ModelWeights {
 public:
  PackedWeights(std::shared_ptr<const Checkpoint> checkpoint, ModelConfig config, PackedConfig packed,
                Activations activations = Activations::kFloat);
  [[nodiscard]] std::shared_ptr<const Linear> linear(int64_t layer, Slot slot) const override;
  /// @throws FormatError naming the tensor whose size or content does not fit the config
  [[nodiscard]] PackedView view(int64_t layer, Slot slot) const;
  /// The order of its own that a packed layer is stored in (reorder mode `fused`); elsewhere empty.
  /// @throws FormatError naming the tensor that is no permutation of the right dtype and length
  [[nodiscard]] RowColOrder order(int64_t layer, Slot slot) const;
  /// The layer whose col_perm orders the columns of `slot`: itself, or (tie) the first packed one of the same input.
  [[nodiscard]] Slot col_owner(int64_t layer, Slot slot) const;
  [[nodiscard]] bool is_packed(int64_t layer, Slot slot) const;
  /// The same for kEmbedMatrix and kHeadMatrix.
  [[nodiscard]] PackedView vocab_view(const std::string& name) const;
  [[nodiscard]] bool is_packed(const std::string& name) const;
  [[nodiscard]] const PackedConfig& packed_config() const { return packed_; }

 protected:
  [[nodiscard]] std::shared_ptr<const PackedLinear> packed_vocab(const char* name) const override;

 private:
  [[nodiscard]] PackedView view(const std::string& name, int64_t out_features, int64_t in_features) const;
  [[nodiscard]] Permutation permutation(const std::string& name, int64_t length) const;

  PackedConfig packed_;
  Activations activations_;
};

/// The tensors of a model directory, under the names of its linear layers (fused_tensors).
std::shared_ptr<const Checkpoint> open_checkpoint(const std::filesystem::path& dir, const ModelConfig& config);

/// Opens a model directory, dense or packed. @throws what Checkpoint and read_hf_config throw
std::unique_ptr<ModelWeights> open_model(const std::filesystem::path& dir, at::ScalarType dtype = at::kFloat,
                                         Activations activations = Activations::kFloat);
std::unique_ptr<DenseWeights> open_dense_model(const std::filesystem::path& dir, at::ScalarType dtype = at::kFloat);

}  // namespace scalebits
