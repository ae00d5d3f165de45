// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/errors.h"
#include "scalebits/model/weights.h"

namespace scalebits {
namespace {

std::span<const uint8_t> as_u8(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

std::span<const uint8_t> stream(const Checkpoint& checkpoint, const std::string& name, DType dtype) {
  const TensorView& tensor = checkpoint.get(name);
  if (tensor.dtype != dtype) {
    fail<FormatError>(name, "dtype: got {}, expected {}", dtype_name(tensor.dtype), dtype_name(dtype));
  }
  return as_u8(tensor.bytes);
}

}  // namespace

PackedWeights::PackedWeights(std::shared_ptr<const Checkpoint> checkpoint, ModelConfig config, PackedConfig packed,
                             Activations activations)
    : ModelWeights(std::move(checkpoint), std::move(config), at::kFloat, {}),
      packed_(std::move(packed)),
      activations_(activations) {}

bool PackedWeights::is_packed(const std::string& name) const { return checkpoint().contains(name + ".codes"); }
bool PackedWeights::is_packed(int64_t layer, Slot slot) const { return is_packed(linear_name(config(), layer, slot)); }

PackedView PackedWeights::view(int64_t layer, Slot slot) const {
  const LinearShape shape = linear_shape(config(), layer, slot);
  return view(linear_name(config(), layer, slot), shape.out_features, shape.in_features);
}

PackedView PackedWeights::vocab_view(const std::string& name) const {
  return view(name, config().vocab_size, config().d_model);
}

PackedView PackedWeights::view(const std::string& name, int64_t out_features, int64_t in_features) const {
  PackedView view;
  view.grid = BlockGrid(out_features, in_features, packed_.spec);
  view.bits = stream(checkpoint(), name + ".bits", DType::kU8);
  view.codes = stream(checkpoint(), name + ".codes", DType::kU8);
  view.scales = stream(checkpoint(), name + ".scales", DType::kU8);
  view.zeros = stream(checkpoint(), name + ".zeros", DType::kU8);
  return view;
}

Permutation PackedWeights::permutation(const std::string& name, int64_t length) const {
  if (!checkpoint().contains(name)) return {};
  const DType dtype = permutation_entry_bytes(length) == 2 ? DType::kI16 : DType::kI32;
  return load_permutation(stream(checkpoint(), name, dtype), length, name);
}

Slot PackedWeights::col_owner(int64_t layer, Slot slot) const {
  if (packed_.tie != "fused") return slot;
  for (const Slot first : same_input(slot)) {
    if (is_packed(layer, first)) return first;
  }
  return slot;
}

RowColOrder PackedWeights::order(int64_t layer, Slot slot) const {
  if (packed_.reorder_mode != "fused") return {};
  const LinearShape shape = linear_shape(config(), layer, slot);
  return {permutation(linear_name(config(), layer, slot) + ".row_perm", shape.out_features),
          permutation(linear_name(config(), layer, col_owner(layer, slot)) + ".col_perm", shape.in_features)};
}

std::shared_ptr<const Linear> PackedWeights::linear(int64_t layer, Slot slot) const {
  const std::string name = linear_name(config(), layer, slot);
  const at::Tensor bias = load_bias(layer, slot);
  if (is_packed(layer, slot)) {
    return std::make_shared<PackedLinear>(view(layer, slot), bias, shared_checkpoint(), name, order(layer, slot),
                                          activations_);
  }
  const LinearShape shape = linear_shape(config(), layer, slot);
  return std::make_shared<DenseLinear>(load(name + ".weight", {shape.out_features, shape.in_features}), bias);
}

std::shared_ptr<const PackedLinear> PackedWeights::packed_vocab(const char* name) const {
  if (!is_packed(name)) return nullptr;
  return std::make_shared<PackedLinear>(vocab_view(name), at::Tensor(), shared_checkpoint(), name, RowColOrder{},
                                        activations_);
}

}  // namespace scalebits
