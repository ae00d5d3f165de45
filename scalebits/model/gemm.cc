// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/gemm.h"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

void sgemm(char trans_a, char trans_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
           int64_t ldb, float* c, int64_t ldc, float alpha = 1.0F, float beta = 0.0F) {
  const dnnl_status_t status = dnnl_sgemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  if (status != dnnl_success) {
    fail<InternalError>("gemm", "oneDNN sgemm {}x{}x{}: got status {}, expected 0", m, n, k, static_cast<int>(status));
  }
}

std::vector<int64_t> with_last(const at::Tensor& x, int64_t last) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = last;
  return shape;
}

/// Whether the processor has instructions for products of bf16. Without them libtorch's loops take fifty times as long
/// as f32 does (bench/log/2026-11-30-cpu-kernels-avx2.md).
bool multiplies_bf16() {
#if defined(__x86_64__)
  static const bool has = __builtin_cpu_supports("avx512bf16") != 0;
  return has;
#else
  return false;
#endif
}

/// x w^T of bf16 matrices by products of f32: the weights of a few outputs at a time are widened, which is exact.
at::Tensor widened_nt(const at::Tensor& x, const at::Tensor& w) {
  constexpr int64_t kRows = 256;
  const int64_t n = w.size(0), k = w.size(1);
  const at::Tensor xf = x.to(at::kFloat).contiguous();
  at::Tensor y = at::empty(with_last(x, n), xf.options());
  for (int64_t first = 0; first < n; first += kRows) {
    const int64_t count = std::min(kRows, n - first);
    const at::Tensor wf = w.narrow(0, first, count).to(at::kFloat).contiguous();
    sgemm('N', 'T', xf.numel() / k, count, k, xf.data_ptr<float>(), k, wf.data_ptr<float>(), k,
          y.data_ptr<float>() + first, n);
  }
  return y.to(x.scalar_type());
}

}  // namespace

at::Tensor matmul_nt(const at::Tensor& x, const at::Tensor& w) {
  if (x.scalar_type() == at::kBFloat16 && !multiplies_bf16()) return widened_nt(x, w);
  if (x.scalar_type() != at::kFloat) return at::linear(x, w);
  const int64_t n = w.size(0), k = w.size(1);
  SCALEBITS_CHECK(x.size(-1) == k && w.is_contiguous());
  const at::Tensor xc = x.contiguous();
  at::Tensor y = at::empty(with_last(x, n), x.options());
  const int64_t m = xc.numel() / k;
  sgemm('N', 'T', m, n, k, xc.data_ptr<float>(), k, w.data_ptr<float>(), k, y.data_ptr<float>(), n);
  return y;
}

at::Tensor matmul_nn(const at::Tensor& x, const at::Tensor& w) {
  if (x.scalar_type() != at::kFloat) return at::matmul(x, w);
  const int64_t n = w.size(0), k = w.size(1);
  SCALEBITS_CHECK(x.size(-1) == n && w.is_contiguous());
  const at::Tensor xc = x.contiguous();
  at::Tensor y = at::empty(with_last(x, k), x.options());
  const int64_t m = xc.numel() / n;
  sgemm('N', 'N', m, k, n, xc.data_ptr<float>(), n, w.data_ptr<float>(), k, y.data_ptr<float>(), k);
  return y;
}

at::Tensor matmul_tn(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != at::kFloat) return at::matmul(a.t(), b);
  at::Tensor out = at::empty({a.size(1), b.size(1)}, a.options());
  matmul_tn(a, 0, a.size(1), b, out.data_ptr<float>());
  return out;
}

at::Tensor batched_matmul(const at::Tensor& a, const at::Tensor& b, bool transpose_b) {
  if (a.scalar_type() != at::kFloat) return at::matmul(a, transpose_b ? b.transpose(-1, -2) : b);
  SCALEBITS_CHECK(a.dim() == 4 && b.dim() == 4 && a.size(0) == b.size(0) && a.size(1) == b.size(1));
  SCALEBITS_CHECK(a.stride(3) == 1 && b.stride(3) == 1 && a.size(3) == b.size(transpose_b ? 3 : 2));
  const int64_t m = a.size(2), n = b.size(transpose_b ? 2 : 3), k = a.size(3);
  at::Tensor out = at::empty({a.size(0), a.size(1), m, n}, a.options());
  for (int64_t i = 0; i < a.size(0); ++i) {
    for (int64_t j = 0; j < a.size(1); ++j) {
      sgemm('N', transpose_b ? 'T' : 'N', m, n, k, a.data_ptr<float>() + i * a.stride(0) + j * a.stride(1), a.stride(2),
            b.data_ptr<float>() + i * b.stride(0) + j * b.stride(1), b.stride(2),
            out.data_ptr<float>() + (i * a.size(1) + j) * m * n, n);
    }
  }
  return out;
}

void matmul_tn(const at::Tensor& dy, int64_t first, int64_t n, const at::Tensor& x, float* out) {
  SCALEBITS_CHECK(dy.is_contiguous() && x.is_contiguous() && dy.dim() == 2 && x.dim() == 2);
  const int64_t t = dy.size(0), width = dy.size(1), k = x.size(1);
  SCALEBITS_CHECK(x.size(0) == t && first + n <= width);
  sgemm('T', 'N', n, k, t, dy.data_ptr<float>() + first, width, x.data_ptr<float>(), k, out, k);
}

void add_product(at::Tensor& c, float alpha, const at::Tensor& a, bool transpose_a, const at::Tensor& b,
                 bool transpose_b) {
  SCALEBITS_CHECK(a.dim() == 2 && b.dim() == 2 && c.dim() == 2);
  SCALEBITS_CHECK(a.stride(1) == 1 && b.stride(1) == 1 && c.stride(1) == 1);
  const int64_t m = c.size(0), n = c.size(1), k = a.size(transpose_a ? 0 : 1);
  SCALEBITS_CHECK(a.size(transpose_a ? 1 : 0) == m && b.size(transpose_b ? 0 : 1) == n &&
                  b.size(transpose_b ? 1 : 0) == k);
  if (m == 0 || n == 0 || k == 0) return;
  sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, a.data_ptr<float>(), a.stride(0),
        b.data_ptr<float>(), b.stride(0), c.data_ptr<float>(), c.stride(0), alpha, 1.0F);
}

}  // namespace scalebits
