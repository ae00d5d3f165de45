// SPDX-License-Identifier: Apache-2.0
/// Activations in one or two parts of 8 bits, as KernelTable::gemv_int8 takes them: one scale for a token's columns of
/// one weight group.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scalebits/kernels/kernels.h"

namespace scalebits {

/// Root-mean-square norm that is applied first: x * weight / sqrt(mean(x^2) + eps). An empty weight = none.
struct NormBefore {
  std::span<const float> weight;
  float eps = 0;
};

/// out = the norm of one token's x, [n].
void apply_norm(std::span<const float> x, const NormBefore& norm, std::span<float> out);

/// Buffers are kept from one use to the next.
class Int8Activations {
 public:
  /// KernelTable::quantize_group of every group; the same on every machine.
  /// @param x      [n_tokens, n_columns] f32; @param n_tokens >= 1
  /// @param group_size  of the weights
  /// @param cols   the stored column c is column cols[c] of x; empty = as stored
  void assign(std::span<const float> x, int64_t n_tokens, int group_size, std::span<const int32_t> cols,
              const NormBefore& norm = {});

  [[nodiscard]] int64_t n_tokens() const { return n_tokens_; }
  [[nodiscard]] int64_t n_columns() const { return n_columns_; }
  [[nodiscard]] int group_size() const { return group_size_; }
  /// The tokens in sets of kMaxGemvTokens; the last may have fewer.
  [[nodiscard]] std::span<const Int8Tokens> sets() const { return sets_; }

 private:
  void assign_token(const float* x, int64_t token, std::span<const int32_t> cols, const NormBefore& norm);

  int64_t n_tokens_ = 0, n_columns_ = 0;
  int group_size_ = 0;
  std::vector<int8_t> values_[2];
  std::vector<float> scales_[2], sums_[2];
  std::vector<Int8Tokens> sets_;
};

}  // namespace scalebits
