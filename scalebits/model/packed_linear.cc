// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/errors.h"
#include "scalebits/kernels/dispatch.h"
#include "scalebits/model/gemm.h"
#include "scalebits/model/linear.h"

namespace scalebits {
namespace {
/// Up to here the gemv kernels win; above, decoding each panel once pays for itself.
constexpr int64_t kGemvTokens = 8;
}  // namespace

PackedLinear::PackedLinear(PackedView view, at::Tensor bias, std::shared_ptr<const void> owner, const std::string& name,
                           RowColOrder order)
    : view_(view),
      panels_(check_packed(view, name.c_str())),
      bias_(std::move(bias)),
      owner_(std::move(owner)),
      order_(std::move(order)) {}

at::Tensor PackedLinear::forward(const at::Tensor& x, LinearTap* tap) const {
  SCALEBITS_CHECK(tap == nullptr && x.scalar_type() == at::kFloat && x.size(-1) == in_features());
  const at::Tensor xc = x.contiguous();
  const int64_t n = out_features(), k = in_features(), tokens = xc.numel() / k;
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = n;
  const PackedOrder order{order_.rows, order_.cols};
  at::Tensor y = at::empty(shape, x.options());
  if (tokens <= kGemvTokens) {
    gemv_packed(view_, panels_, {xc.data_ptr<float>(), static_cast<size_t>(tokens * k)}, tokens,
                {y.data_ptr<float>(), static_cast<size_t>(tokens * n)}, order);
  } else {
    at::Tensor w = at::empty({n, k}, x.options());
    decode_packed(view_, panels_, {w.data_ptr<float>(), static_cast<size_t>(n * k)}, order);
    y = matmul_nt(xc, w);
  }
  return bias_.defined() ? y + bias_ : y;
}

at::Tensor PackedLinear::decoded(std::span<const int32_t> rows) const {
  at::Tensor w = at::empty({static_cast<int64_t>(rows.size()), in_features()}, at::kFloat);
  decode_rows(view_, panels_, rows, {w.data_ptr<float>(), static_cast<size_t>(w.numel())});
  return w;
}

}  // namespace scalebits
