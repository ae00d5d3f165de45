// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/weights.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/base/half.h"
#include "scalebits/kernels/kernels.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

/// Rows of a vocabulary matrix that are read, or decoded, and permuted at once: no second copy of it is held.
constexpr int64_t kRowsAtOnce = 4096;

/// Before anything is permuted by it: an entry out of range would be written out of bounds.
const FoldedOrder& checked(const ModelConfig& config, const FoldedOrder& order) {
  check_folded_order(config, order);
  return order;
}

/// That experts are stored one by one, and are as many as the config says.
void check_experts(const Checkpoint& checkpoint, const ModelConfig& config) {
  for (int64_t l = 0; l < config.n_layers; ++l) {
    if (!config.has_experts(l)) continue;
    const std::string router = router_name(config, l);
    const std::string block = router.substr(0, router.size() - std::string_view("gate.weight").size());
    for (const char* fused : {"experts.gate_up_proj", "experts.down_proj"}) {
      if (!checkpoint.contains(block + fused)) continue;
      fail<Unsupported>(checkpoint.dir().string(),
                        "tensor {}{}: got all experts in one tensor, expected one for each, such as {}.weight. "
                        "transformers writes these with save_pretrained.",
                        block, fused, linear_name(config, l, {Proj::kGate, 0}));
    }
    const std::string more = linear_name(config, l, {Proj::kGate, config.experts.n_experts});
    if (!checkpoint.contains(more + ".weight")) continue;
    fail<FormatError>(checkpoint.dir().string(),
                      "tensor {}.weight: got it, expected {} experts in each layer, as config.json says.", more,
                      config.experts.n_experts);
  }
}

}  // namespace

ModelWeights::ModelWeights(std::shared_ptr<const Checkpoint> checkpoint, ModelConfig config, at::ScalarType dtype,
                           Permutation residual)
    : checkpoint_(std::move(checkpoint)),
      config_(std::move(config)),
      dtype_(dtype),
      residual_(std::move(residual)),
      residual_inverse_(inverse(residual_)) {
  init_torch();
  check_experts(*checkpoint_, config_);
  final_norm_ = load_norm(kFinalNormName);
}

at::Tensor ModelWeights::load(const std::string& name, std::vector<int64_t> shape) const {
  const TensorView& view = checkpoint_->get(name, shape);
  at::Tensor tensor = at::empty(shape, at::kFloat);
  read_floats(view, {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())});
  checkpoint_->release(view);
  return tensor;
}

at::Tensor ModelWeights::mapped(const std::string& name, std::vector<int64_t> shape, at::ScalarType dtype) const {
  const TensorView& stored = checkpoint_->get(name, shape);
  const bool same =
      (stored.dtype == DType::kBF16 && dtype == at::kBFloat16) || (stored.dtype == DType::kF32 && dtype == at::kFloat);
  if (!same || reinterpret_cast<uintptr_t>(stored.bytes.data()) % 4 != 0) return {};
  const auto owner = checkpoint_;
  return at::from_blob(
      const_cast<std::byte*>(stored.bytes.data()), shape, [owner](void*) {}, at::TensorOptions(dtype));
}

at::Tensor ModelWeights::load_bias(int64_t layer, Slot slot) const {
  const LinearShape shape = linear_shape(config_, layer, slot);
  if (!shape.bias) return {};
  return load(linear_name(config_, layer, slot) + ".bias", {shape.out_features});
}

at::Tensor ModelWeights::load_norm(const std::string& name) const {
  if (name.empty()) return {};
  const at::Tensor stored = load(name, {config_.d_model});
  return permute_dim(config_.norm_adds_one ? stored + 1.0 : stored, 0, residual_);
}

at::Tensor ModelWeights::load_head_norm(const std::string& name) const {
  if (name.empty()) return {};
  const at::Tensor stored = load(name, {config_.head_dim});
  return config_.norm_adds_one ? stored + 1.0 : stored;
}

DecoderLayer ModelWeights::layer(int64_t index) const {
  const bool keep = !kept_.empty();
  if (keep && kept_[static_cast<size_t>(index)]) return *kept_[static_cast<size_t>(index)];
  DecoderLayer layer;
  const NormNames norms = norm_names(config_, index);
  layer.attn_norm = load_norm(norms.attn);
  layer.attn_post_norm = load_norm(norms.attn_post);
  layer.mlp_norm = load_norm(norms.mlp);
  layer.mlp_post_norm = load_norm(norms.mlp_post);
  layer.q_norm = load_head_norm(norms.q);
  layer.k_norm = load_head_norm(norms.k);
  layer.windowed = config_.is_windowed(index);
  for (const Slot slot : slots(config_, index)) layer.linear.push_back(linear(index, slot));
  if (config_.has_experts(index)) {
    const at::Tensor router = load(router_name(config_, index), {config_.experts.n_experts, config_.d_model});
    layer.router = std::make_shared<DenseLinear>(permute_dim(router, 1, residual_).contiguous());
  }
  if (keep) kept_[static_cast<size_t>(index)] = layer;
  return layer;
}

const ModelWeights::PackedVocab& ModelWeights::vocab() const {
  std::call_once(vocab_once_, [this] {
    PackedVocab found;
    found.embed = packed_vocab(kEmbedMatrix);
    found.head = config_.tied_embeddings ? found.embed : packed_vocab(kHeadMatrix);
    vocab_ = std::move(found);
  });
  return vocab_;
}

void ModelWeights::embed_into(std::span<const TokenId> ids, std::span<float> out) const {
  const int64_t d = config_.d_model;
  SCALEBITS_CHECK(out.size() == ids.size() * static_cast<size_t>(d));
  for (const TokenId id : ids) {
    if (id < 0 || id >= config_.vocab_size) {
      fail<InvalidArgument>("embed", "token id: got {}, expected 0..{}. Do tokenizer and model belong together?", id,
                            config_.vocab_size - 1);
    }
  }
  if (vocab().embed) {
    vocab().embed->decode_into(ids, out);
  } else {
    read_embedding(ids, out);
  }
  if (config_.embed_scale == 1.0) return;
  const auto scale = static_cast<float>(config_.embed_scale);
  for (float& x : out) x *= scale;
}

void ModelWeights::read_embedding(std::span<const TokenId> ids, std::span<float> out) const {
  const int64_t d = config_.d_model;
  const TensorView& table = checkpoint_->get(kEmbedName, std::array{config_.vocab_size, d});
  const auto row_bytes = static_cast<size_t>(d * dtype_bytes(table.dtype));
  thread_local TensorView row;  // generation reads one for every token; its name and shape keep their memory
  row = table;
  row.shape.assign(1, d);
  for (size_t t = 0; t < ids.size(); ++t) {
    row.bytes = table.bytes.subspan(static_cast<size_t>(ids[t]) * row_bytes, row_bytes);
    const std::span<float> to = out.subspan(t * static_cast<size_t>(d), static_cast<size_t>(d));
    read_floats(row, to);
    if (residual_.empty()) continue;
    const std::vector<float> stored(to.begin(), to.end());
    for (size_t c = 0; c < to.size(); ++c) to[c] = stored[static_cast<size_t>(residual_[c])];
  }
}

at::Tensor ModelWeights::embed(std::span<const TokenId> ids) const {
  at::Tensor x = at::empty({1, static_cast<int64_t>(ids.size()), config_.d_model}, at::kFloat);
  embed_into(ids, {x.data_ptr<float>(), static_cast<size_t>(x.numel())});
  return x.to(dtype_);
}

at::Tensor ModelWeights::final_hidden(const at::Tensor& x) const {
  return permute_dim(rms_norm(x.to(at::kFloat), final_norm_, config_.norm_eps), x.dim() - 1, residual_inverse_);
}

const at::Tensor& ModelWeights::head() const {
  // In the stored order: final_hidden() undoes the folded one, so one copy serves every order of the same model.
  std::call_once(head_once_, [this] {
    if (!vocab().head) {
      head_ = load(config_.tied_embeddings ? kEmbedName : kHeadName, {config_.vocab_size, config_.d_model}).to(dtype_);
      return;
    }
    at::Tensor head = at::empty({config_.vocab_size, config_.d_model}, dtype_);
    for (int64_t first = 0; first < config_.vocab_size; first += kRowsAtOnce) {
      std::vector<int32_t> rows(static_cast<size_t>(std::min(kRowsAtOnce, config_.vocab_size - first)));
      std::iota(rows.begin(), rows.end(), static_cast<int32_t>(first));
      const at::Tensor part = permute_dim(vocab().head->decoded(rows), 1, residual_inverse_);
      head.narrow(0, first, part.size(0)).copy_(part);
    }
    head_ = head;
  });
  return head_;
}

std::shared_ptr<const Linear> ModelWeights::head_linear() const {
  SCALEBITS_CHECK(residual_.empty());
  if (vocab().head) return vocab().head;
  const char* name = config_.tied_embeddings ? kEmbedName : kHeadName;
  const at::Tensor stored = mapped(name, {config_.vocab_size, config_.d_model}, at::kBFloat16);
  return std::make_shared<DenseLinear>(stored.defined() ? stored : head());
}

at::Tensor ModelWeights::logits(const at::Tensor& hidden) const {
  const int64_t rows = hidden.numel() / config_.d_model;
  // Hidden states are in the checkpoint's own channel order, and so is a packed head unless an order is folded in here.
  const bool few = rows <= kMaxGemvTokens || (vocab().head && vocab().head->activations() == Activations::kInt8);
  const at::Tensor logits = vocab().head && residual_.empty() && few
                                ? vocab().head->forward(hidden.to(at::kFloat), nullptr)
                                : matmul_nt(hidden.to(dtype_), head()).to(at::kFloat);
  return config_.logit_cap > 0 ? (logits / config_.logit_cap).tanh_().mul_(config_.logit_cap) : logits;
}

DenseWeights::DenseWeights(std::shared_ptr<const Checkpoint> checkpoint, ModelConfig config, FoldedOrder order,
                           at::ScalarType dtype)
    : ModelWeights(std::move(checkpoint), config, dtype, checked(config, order).residual), order_(std::move(order)) {}

at::Tensor DenseWeights::weight(int64_t layer, Slot slot) const {
  const LinearShape shape = linear_shape(config(), layer, slot);
  const RowColOrder perm = folded_order(config(), order_, layer, slot);
  const at::Tensor stored =
      load(linear_name(config(), layer, slot) + ".weight", {shape.out_features, shape.in_features});
  return permute_dim(permute_dim(stored, 1, perm.cols), 0, perm.rows);
}

at::Tensor DenseWeights::bias(int64_t layer, Slot slot) const {
  const at::Tensor stored = load_bias(layer, slot);
  return stored.defined() ? permute_dim(stored, 0, folded_order(config(), order_, layer, slot).rows) : stored;
}

at::Tensor DenseWeights::vocab_weight(const std::string& name) const {
  const std::vector<int64_t> shape = {config().vocab_size, config().d_model};
  const TensorView& stored = checkpoint().get(name + ".weight", shape);
  const auto row_bytes = static_cast<size_t>(config().d_model * dtype_bytes(stored.dtype));
  at::Tensor weight = at::empty(shape, at::kFloat);
  for (int64_t first = 0; first < shape[0]; first += kRowsAtOnce) {
    at::Tensor to = weight.narrow(0, first, std::min(kRowsAtOnce, shape[0] - first));
    TensorView part = stored;
    part.shape = to.sizes().vec();
    part.bytes =
        stored.bytes.subspan(static_cast<size_t>(first) * row_bytes, static_cast<size_t>(to.size(0)) * row_bytes);
    read_floats(part, {to.data_ptr<float>(), static_cast<size_t>(to.numel())});
    if (!order_.residual.empty()) to.copy_(permute_dim(to, 1, order_.residual));
  }
  checkpoint().release(stored);
  return weight;
}

std::shared_ptr<const Linear> DenseWeights::linear(int64_t layer, Slot slot) const {
  const at::Tensor b = bias(layer, slot);
  const LinearShape shape = linear_shape(config(), layer, slot);
  const RowColOrder perm = folded_order(config(), order_, layer, slot);
  at::Tensor w;
  if (kept() && perm.rows.empty() && perm.cols.empty()) {
    w = mapped(linear_name(config(), layer, slot) + ".weight", {shape.out_features, shape.in_features}, dtype());
  }
  if (!w.defined()) w = weight(layer, slot).to(dtype());
  return std::make_shared<DenseLinear>(w, b.defined() ? b.to(dtype()) : b);
}

std::shared_ptr<const Checkpoint> open_checkpoint(const std::filesystem::path& dir, const ModelConfig& config) {
  return std::make_shared<Checkpoint>(dir, fused_tensors(config));
}

std::unique_ptr<ModelWeights> open_model(const std::filesystem::path& dir, at::ScalarType dtype,
                                         Activations activations) {
  const ModelConfig config = read_hf_config(dir);
  if (config.quant_method.empty()) return open_dense_model(dir, dtype);
  PackedConfig packed = read_packed_config(dir);
  return std::make_unique<PackedWeights>(open_checkpoint(dir, config), config, std::move(packed), activations);
}

std::unique_ptr<DenseWeights> open_dense_model(const std::filesystem::path& dir, at::ScalarType dtype) {
  const ModelConfig config = read_hf_config(dir);
  if (!config.quant_method.empty()) {
    fail<Unsupported>(dir.string(), "quantization_config.quant_method: got \"{}\", expected a dense checkpoint.",
                      config.quant_method);
  }
  return std::make_unique<DenseWeights>(open_checkpoint(dir, config), config, FoldedOrder{}, dtype);
}

}  // namespace scalebits
