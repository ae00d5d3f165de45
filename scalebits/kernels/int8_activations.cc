// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/int8_activations.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/format/grid.h"
#include "scalebits/kernels/dispatch.h"

namespace scalebits {
namespace {

/// Sixteen sums, so that the order, and with it every bit, does not depend on what the compiler makes of a loop.
float mean_square(const float* x, int64_t n) {
  float lanes[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int64_t l = 0; l < 16; ++l) lanes[l] += x[i + l] * x[i + l];
  }
  for (int64_t l = 0; i + l < n; ++l) lanes[l] += x[i + l] * x[i + l];
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return static_cast<float>(sum / static_cast<double>(n));
}

/// What a token's values are multiplied by before the weight of the norm.
float norm_factor(const float* x, int64_t n, const NormBefore& norm) {
  return 1.0F / std::sqrt(mean_square(x, n) + norm.eps);
}

}  // namespace

void apply_norm(std::span<const float> x, const NormBefore& norm, std::span<float> out) {
  const float factor = norm_factor(x.data(), static_cast<int64_t>(x.size()), norm);
  for (size_t c = 0; c < x.size(); ++c) out[c] = x[c] * factor * norm.weight[c];
}

void Int8Activations::assign_token(const float* x, int64_t token, std::span<const int32_t> cols,
                                   const NormBefore& norm) {
  const int64_t n = n_columns_, groups = ceil_div(n, group_size_), stored = round_up(n, kTileCols);
  const int64_t set = token / kMaxGemvTokens, t = token % kMaxGemvTokens;
  const int64_t in_set = std::min<int64_t>(kMaxGemvTokens, n_tokens_ - set * kMaxGemvTokens);
  thread_local std::vector<float> row;  // padded with 0
  row.assign(static_cast<size_t>(stored), 0.0F);
  if (norm.weight.empty()) {
    if (cols.empty()) std::copy_n(x, n, row.data());
    for (size_t c = 0; c < cols.size(); ++c) row[c] = x[cols[c]];
  } else {
    const float* weight = norm.weight.data();
    if (cols.empty()) apply_norm({x, static_cast<size_t>(n)}, norm, row);
    const float factor = cols.empty() ? 0.0F : norm_factor(x, n, norm);
    for (size_t c = 0; c < cols.size(); ++c) row[c] = x[cols[c]] * factor * weight[cols[c]];
  }
  thread_local std::vector<int8_t> rounded[2];
  for (auto& part : rounded) part.resize(static_cast<size_t>(stored));
  const int64_t first_param = set * kMaxGemvTokens * groups + t;
  const KernelTable& kernels = active_kernels();
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t first = g * group_size_, count = std::min<int64_t>(group_size_, stored - first);
    const auto p = static_cast<size_t>(first_param + g * in_set);
    float sums[2];
    const float scale =
        kernels.quantize_group(row.data() + first, count, rounded[0].data() + first, rounded[1].data() + first, sums);
    scales_[0][p] = scale;
    scales_[1][p] = scale / 254.0F;
    for (size_t part = 0; part < 2; ++part) sums_[part][p] = sums[part];
  }
  for (size_t part = 0; part < 2; ++part) {
    int8_t* values = values_[part].data() + set * kMaxGemvTokens * stored;
    const int8_t* from = rounded[part].data();
    if (in_set == 1) {
      std::copy_n(from, stored, values);
    } else {
      for (int64_t c = 0; c < stored; c += kTileCols) {
        std::copy_n(from + c, kTileCols, values + c * in_set + t * kTileCols);
      }
    }
  }
}

void Int8Activations::assign(std::span<const float> x, int64_t n_tokens, int group_size, std::span<const int32_t> cols,
                             const NormBefore& norm) {
  SCALEBITS_CHECK(n_tokens >= 1 && group_size >= kTileCols && group_size % kTileCols == 0);
  n_tokens_ = n_tokens;
  n_columns_ = static_cast<int64_t>(x.size()) / n_tokens;
  group_size_ = group_size;
  SCALEBITS_CHECK(static_cast<int64_t>(x.size()) == n_tokens_ * n_columns_);
  SCALEBITS_CHECK(cols.empty() || static_cast<int64_t>(cols.size()) == n_columns_);
  SCALEBITS_CHECK(norm.weight.empty() || static_cast<int64_t>(norm.weight.size()) == n_columns_);
  const int64_t groups = ceil_div(n_columns_, group_size), stored = round_up(n_columns_, kTileCols);
  for (size_t part = 0; part < 2; ++part) {
    values_[part].resize(static_cast<size_t>(n_tokens * stored));
    scales_[part].resize(static_cast<size_t>(n_tokens * groups));
    sums_[part].resize(scales_[part].size());
  }
  sets_.clear();
  for (int64_t first = 0; first < n_tokens; first += kMaxGemvTokens) {
    Int8Tokens set{};
    for (size_t part = 0; part < 2; ++part) {
      set.parts[part] = {.values = values_[part].data() + first * stored,
                         .scales = scales_[part].data() + first * groups,
                         .sums = sums_[part].data() + first * groups};
    }
    set.n_tokens = static_cast<int32_t>(std::min<int64_t>(kMaxGemvTokens, n_tokens - first));
    sets_.push_back(set);
  }
  if (n_tokens == 1) return assign_token(x.data(), 0, cols, norm);
  parallel_for(n_tokens, [&](int64_t t) { assign_token(x.data() + t * n_columns_, t, cols, norm); });
}

}  // namespace scalebits
