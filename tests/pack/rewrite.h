// SPDX-License-Identifier: Apache-2.0
/// A packed checkpoint with one tensor changed: what a hostile or damaged file may hold.
#pragma once

#include <functional>

#include "scalebits/io/safetensors.h"

namespace scalebits::test {

struct RawTensor {
  TensorSpec spec;
  std::vector<std::byte> bytes;
  /// Another number of one-byte elements.
  void resize(size_t n) {
    bytes.resize(n);
    spec.shape = {static_cast<int64_t>(n)};
  }
};

/// Copies config.json and model.safetensors of `from`; the tensor `name` goes through `change`.
inline void rewrite_tensor(const std::filesystem::path& from, const std::filesystem::path& to, const std::string& name,
                           const std::function<void(RawTensor&)>& change) {
  namespace fs = std::filesystem;
  fs::create_directories(to);
  fs::copy_file(from / "config.json", to / "config.json", fs::copy_options::overwrite_existing);
  const SafetensorsFile file(from / "model.safetensors");
  std::vector<RawTensor> tensors;
  std::vector<TensorSpec> specs;
  for (const TensorView& view : file.tensors()) {
    RawTensor tensor{{view.name, view.dtype, view.shape}, {view.bytes.begin(), view.bytes.end()}};
    if (view.name == name) change(tensor);
    specs.push_back(tensor.spec);
    tensors.push_back(std::move(tensor));
  }
  SafetensorsWriter writer(to / "model.safetensors", specs, {}, /*checksums=*/false);
  for (const RawTensor& tensor : tensors) writer.write(tensor.spec.name, tensor.bytes);
  writer.finish();
}

}  // namespace scalebits::test
