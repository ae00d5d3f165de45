// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/products.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

/// Rows of a dense matrix that are one task.
constexpr int64_t kDenseRows = 256;

void add_bias(const at::Tensor& bias, int64_t n_tokens, std::span<float> y) {
  if (!bias.defined()) return;
  const at::Tensor f = bias.to(at::kFloat);
  const float* values = f.data_ptr<float>();
  const int64_t n = f.numel();
  parallel_for(n_tokens, [&](int64_t t) {
    float* row = y.data() + t * n;
    for (int64_t i = 0; i < n; ++i) row[i] += values[i];
  });
}

void multiply_dense(const DenseLinear& linear, LayerInput& input, std::span<float> y) {
  const int64_t n_tokens = input.n_tokens(), n = linear.out_features(), k = linear.in_features();
  const std::span<const float> x = input.floats();
  const at::Tensor& w = linear.weight();
  if (w.scalar_type() == at::kBFloat16 && n_tokens <= kMaxGemvTokens) {
    const auto* weights = static_cast<const uint16_t*>(w.data_ptr());
    const KernelTable& kernels = active_kernels();
    parallel_for(ceil_div(n, kDenseRows), [&](int64_t task) {
      const int64_t first = task * kDenseRows;
      kernels.gemv_bf16(weights + first * k, std::min(kDenseRows, n - first), k, x.data(),
                        static_cast<int32_t>(n_tokens), y.data() + first, n);
    });
  } else {
    const at::Tensor in = at::from_blob(const_cast<float*>(x.data()), {n_tokens, k}, at::kFloat).to(w.scalar_type());
    at::Tensor out = at::from_blob(y.data(), {n_tokens, n}, at::kFloat);
    parallel_for(ceil_div(n, kDenseRows), [&](int64_t task) {
      const at::NoGradGuard no_grad;
      const int64_t first = task * kDenseRows, count = std::min(kDenseRows, n - first);
      out.narrow(1, first, count).copy_(matmul_nt(in, w.narrow(0, first, count)));
    });
  }
  add_bias(linear.bias(), n_tokens, y);
}

/// Exact activations, a few tokens at a time: for comparisons.
void multiply_float(const PackedLinear& linear, LayerInput& input, std::span<float> y) {
  const auto n = static_cast<size_t>(linear.out_features()), k = static_cast<size_t>(linear.in_features());
  const PackedOrder order{linear.order().rows, linear.order().cols};
  for (int64_t t = 0; t < input.n_tokens(); t += kMaxGemvTokens) {
    const int64_t now = std::min<int64_t>(kMaxGemvTokens, input.n_tokens() - t);
    const auto first = static_cast<size_t>(t), count = static_cast<size_t>(now);
    gemv_packed(linear.view(), linear.panels(), input.floats().subspan(first * k, count * k), now,
                y.subspan(first * n, count * n), order);
  }
}

}  // namespace

void LayerInput::set(std::span<const float> x, int64_t n_tokens, const NormBefore& norm) {
  x_ = x;
  n_tokens_ = n_tokens;
  norm_ = norm;
  has_floats_ = false;
  n_forms_ = 0;
}

std::span<const float> LayerInput::floats() {
  if (norm_.weight.empty()) return x_;
  if (!has_floats_) {
    floats_.resize(x_.size());
    const size_t n = norm_.weight.size();
    parallel_for(n_tokens_, [&](int64_t t) {
      const std::span<const float> row = x_.subspan(static_cast<size_t>(t) * n, n);
      apply_norm(row, norm_, std::span(floats_).subspan(static_cast<size_t>(t) * n, n));
    });
    has_floats_ = true;
  }
  return floats_;
}

const Int8Activations& LayerInput::int8(int group_size, std::span<const int32_t> cols) {
  for (size_t i = 0; i < n_forms_; ++i) {
    if (forms_[i].group_size == group_size && std::ranges::equal(forms_[i].cols, cols)) return forms_[i].values;
  }
  if (n_forms_ == forms_.size()) forms_.emplace_back();
  Form& form = forms_[n_forms_++];
  form.group_size = group_size;
  form.cols = cols;
  form.values.assign(x_, n_tokens_, group_size, cols, norm_);
  return form.values;
}

void multiply(std::span<const LinearProduct> products, LayerInput& input, Activations activations) {
  thread_local std::vector<Int8Product> packed;
  packed.clear();
  for (const LinearProduct& product : products) {
    const auto* linear = dynamic_cast<const PackedLinear*>(product.linear);
    if (linear == nullptr) continue;
    LayerInput& own = product.input != nullptr ? *product.input : input;
    if (activations == Activations::kFloat) {
      multiply_float(*linear, own, product.y);
    } else {
      const PackedView& view = linear->view();
      packed.push_back({.w = &view,
                        .panels = &linear->panels(),
                        .x = &own.int8(view.grid.spec().group_size, linear->order().cols),
                        .y = product.y,
                        .rows = linear->order().rows});
    }
  }
  multiply_int8(packed);
  for (const LinearProduct& product : products) {
    LayerInput& own = product.input != nullptr ? *product.input : input;
    if (const auto* dense = dynamic_cast<const DenseLinear*>(product.linear)) {
      multiply_dense(*dense, own, product.y);
    } else {
      add_bias(dynamic_cast<const PackedLinear&>(*product.linear).bias(), own.n_tokens(), product.y);
    }
  }
}

}  // namespace scalebits
