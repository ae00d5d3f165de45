// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "scalebits/base/errors.h"
#include "scalebits/kernels/products.h"
#include "scalebits/model/gemm.h"
#include "scalebits/model/linear.h"

namespace scalebits {
PackedLinear::PackedLinear(PackedView view, at::Tensor bias, std::shared_ptr<const void> owner, const std::string& name,
                           RowColOrder order, Activations activations)
    : view_(view),
      panels_(check_packed(view, name.c_str())),
      bias_(std::move(bias)),
      owner_(std::move(owner)),
      order_(std::move(order)),
      activations_(activations) {}

at::Tensor PackedLinear::forward(const at::Tensor& x, LinearTap* tap) const {
  SCALEBITS_CHECK(tap == nullptr && x.scalar_type() == at::kFloat && x.size(-1) == in_features());
  const at::Tensor xc = x.contiguous();
  const int64_t n = out_features(), k = in_features(), tokens = xc.numel() / k;
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = n;
  at::Tensor y = at::empty(shape, x.options());
  const std::span<const float> from(xc.data_ptr<float>(), static_cast<size_t>(tokens * k));
  const std::span<float> to(y.data_ptr<float>(), static_cast<size_t>(tokens * n));
  if (activations_ == Activations::kInt8) {
    Int8Activations rounded;
    rounded.assign(from, tokens, view_.grid.spec().group_size, order_.cols);
    const std::array<Int8Product, 1> product = {{{&view_, &panels_, &rounded, to, order_.rows}}};
    multiply_int8(product);
  } else if (tokens <= kMaxGemvTokens) {
    gemv_packed(view_, panels_, from, tokens, to, {order_.rows, order_.cols});
  } else {
    y = matmul_nt(xc, dense());
  }
  return bias_.defined() ? y + bias_ : y;
}

at::Tensor PackedLinear::dense() const {
  at::Tensor w = at::empty({out_features(), in_features()}, at::kFloat);
  decode_packed(view_, panels_, {w.data_ptr<float>(), static_cast<size_t>(w.numel())}, {order_.rows, order_.cols});
  return w;
}

std::shared_ptr<const Linear> decoded_once(std::shared_ptr<const Linear> linear) {
  const auto* packed = dynamic_cast<const PackedLinear*>(linear.get());
  if (packed == nullptr || packed->activations() == Activations::kInt8) return linear;
  return std::make_shared<DenseLinear>(packed->dense(), packed->bias());
}

void PackedLinear::decode_into(std::span<const int32_t> rows, std::span<float> out) const {
  decode_rows(view_, panels_, rows, out);
}

at::Tensor PackedLinear::decoded(std::span<const int32_t> rows) const {
  at::Tensor w = at::empty({static_cast<int64_t>(rows.size()), in_features()}, at::kFloat);
  decode_into(rows, {w.data_ptr<float>(), static_cast<size_t>(w.numel())});
  return w;
}

}  // namespace scalebits
