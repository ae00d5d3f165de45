// SPDX-License-Identifier: Apache-2.0
/// Checkpoints changed on the way: copies of a model directory in which single tensors are replaced or left out.
#pragma once

#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <sstream>

#include "tests/model/golden.h"

namespace scalebits::test {

/// Writes config.json and model.safetensors with these f32 tensors.
inline void write_model(const std::filesystem::path& dir, const std::string& config,
                        const std::map<std::string, at::Tensor>& tensors) {
  std::filesystem::create_directories(dir);
  std::ofstream(dir / "config.json") << config;
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back({name, DType::kF32, tensor.sizes().vec()});
  SafetensorsWriter writer(dir / "model.safetensors", specs, {}, /*checksums=*/false);
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor contiguous = tensor.contiguous();
    const std::span<const float> floats(contiguous.data_ptr<float>(), static_cast<size_t>(contiguous.numel()));
    writer.write(name, std::as_bytes(floats));
  }
  writer.finish();
}

inline std::map<std::string, at::Tensor> read_tensors(const std::filesystem::path& dir) {
  std::map<std::string, at::Tensor> tensors;
  const Checkpoint checkpoint(dir);
  for (const std::string& name : checkpoint.names()) tensors[name] = to_tensor(checkpoint.get(name));
  return tensors;
}

inline std::string read_text_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// A copy of `from` after `change`.
inline void copy_model(const std::filesystem::path& from, const std::filesystem::path& to,
                       const std::function<void(std::map<std::string, at::Tensor>&)>& change) {
  std::map<std::string, at::Tensor> tensors = read_tensors(from);
  change(tensors);
  write_model(to, read_text_file(from / "config.json"), tensors);
}

}  // namespace scalebits::test
