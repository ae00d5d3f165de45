// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/errors.h"
#include "scalebits/model/gemm.h"
#include "scalebits/model/linear.h"

namespace scalebits {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// y = x w^T whose backward gives dx only; what the weight gradient needs is left in a tap, because it is contracted
/// tile by tile and never stored (calibrate/).
struct TappedProduct : public torch::autograd::Function<TappedProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& w, int64_t tap) {
    ctx->saved_data["w"] = w;
    ctx->saved_data["tap"] = tap;
    if (tap != 0) ctx->saved_data["x"] = x.detach();
    return matmul_nt(x, w);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const int64_t tap_address = ctx->saved_data["tap"].toInt();
    if (tap_address != 0) {
      auto* tap = reinterpret_cast<LinearTap*>(tap_address);
      const at::Tensor x = ctx->saved_data["x"].toTensor();
      tap->x = x.reshape({-1, x.size(-1)}).contiguous();
      tap->dy = dy[0].reshape({-1, dy[0].size(-1)}).contiguous();
    }
    return {matmul_nn(dy[0], ctx->saved_data["w"].toTensor()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

DenseLinear::DenseLinear(at::Tensor weight, at::Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {
  SCALEBITS_CHECK(weight_.dim() == 2 && weight_.is_contiguous());
}

at::Tensor DenseLinear::forward(const at::Tensor& x, LinearTap* tap) const {
  const bool graph = at::GradMode::is_enabled() && x.requires_grad();
  if (tap != nullptr && !graph) tap->x = x.reshape({-1, x.size(-1)}).contiguous();
  at::Tensor y = graph ? TappedProduct::apply(x, weight_, reinterpret_cast<int64_t>(tap)) : matmul_nt(x, weight_);
  return bias_.defined() ? y + bias_ : y;
}

}  // namespace scalebits
