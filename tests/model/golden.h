// SPDX-License-Identifier: Apache-2.0
/// Tensors and numbers of the golden files (tests/model/golden/README.md), and errors measured against them.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "scalebits/io/safetensors.h"
#include "scalebits/io/tokenizer.h"
#include "scalebits/model/torch.h"
#include "tests/data.h"

namespace scalebits::test {

inline std::filesystem::path golden_dir() { return source_dir() / "tests/model/golden"; }
inline std::filesystem::path tiny_gqa() { return golden_dir() / "tiny-gqa"; }
inline std::filesystem::path stories260k() { return shared_data() / "models/stories260K"; }

/// A float tensor as f32, an I32 tensor as int64.
inline at::Tensor to_tensor(const TensorView& view) {
  if (view.dtype == DType::kI32) {
    at::Tensor ids = at::empty(view.shape, at::kInt);
    std::memcpy(ids.data_ptr<int32_t>(), view.bytes.data(), view.bytes.size());
    return ids.to(at::kLong);
  }
  at::Tensor floats = at::empty(view.shape, at::kFloat);
  read_floats(view, {floats.data_ptr<float>(), static_cast<size_t>(floats.numel())});
  return floats;
}

class GoldenFile {
 public:
  explicit GoldenFile(const std::filesystem::path& path) : file_(path) {
    for (const TensorView& view : file_.tensors()) by_name_[view.name] = &view;
  }
  at::Tensor operator[](const std::string& name) const { return to_tensor(*by_name_.at(name)); }
  [[nodiscard]] std::vector<std::string> names(const std::string& prefix) const {
    std::vector<std::string> found;
    for (const auto& [name, view] : by_name_) {
      if (name.starts_with(prefix)) found.push_back(name.substr(prefix.size()));
    }
    return found;
  }
  /// The leading number of a metadata entry.
  [[nodiscard]] double number(const std::string& key) const { return std::stod(file_.metadata().at(key)); }
  [[nodiscard]] std::vector<std::vector<TokenId>> sequences() const {
    const at::Tensor tokens = (*this)["tokens"];
    std::vector<std::vector<TokenId>> rows;
    for (int64_t i = 0; i < tokens.size(0); ++i) {
      const int64_t* row = tokens.data_ptr<int64_t>() + i * tokens.size(1);
      rows.emplace_back(row, row + tokens.size(1));
    }
    return rows;
  }

 private:
  SafetensorsFile file_;
  std::map<std::string, const TensorView*> by_name_;
};

/// Largest absolute difference, in double.
inline double max_error(const at::Tensor& got, const at::Tensor& expected) {
  EXPECT_EQ(got.sizes(), expected.sizes());
  return (got.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>();
}

inline double max_magnitude(const at::Tensor& x) { return x.to(at::kDouble).abs().max().item<double>(); }
inline double frobenius(const at::Tensor& x) { return x.to(at::kDouble).norm().item<double>(); }

/// |got - expected| / |expected|, Frobenius.
inline double relative_error(const at::Tensor& got, const at::Tensor& expected) {
  EXPECT_EQ(got.sizes(), expected.sizes());
  return frobenius(got.to(at::kDouble) - expected.to(at::kDouble)) / frobenius(expected);
}

/// Repeatable N(0, 1) draws.
inline at::Tensor random_normal(at::IntArrayRef shape, uint64_t seed, at::ScalarType dtype = at::kFloat) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::TensorOptions().dtype(at::kDouble)).to(dtype);
}

}  // namespace scalebits::test
