// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

constexpr int64_t kBlock = 128;

/// A small upper triangular matrix in f64, because its errors spread to everything before it.
class Triangle {
 public:
  explicit Triangle(int64_t n) : n_(n), values_(static_cast<size_t>(n * n)) {}
  double& at(int64_t r, int64_t c) { return values_[static_cast<size_t>(r * n_ + c)]; }

  /// The unblocked factorization of what it holds.
  bool factor() {
    for (int64_t c = n_ - 1; c >= 0; --c) {
      const double pivot = at(c, c);
      if (!(pivot > 0) || !std::isfinite(pivot)) return false;
      const double root = std::sqrt(pivot);
      at(c, c) = root;
      for (int64_t r = 0; r < c; ++r) at(r, c) /= root;
      for (int64_t k = 0; k < c; ++k) {
        for (int64_t r = k; r < c; ++r) at(k, r) -= at(k, c) * at(r, c);
      }
    }
    return true;
  }

  /// Its inverse, also upper triangular, by back substitution.
  [[nodiscard]] Triangle inverse() {
    Triangle inverse(n_);
    for (int64_t c = 0; c < n_; ++c) {
      inverse.at(c, c) = 1 / at(c, c);
      for (int64_t r = c - 1; r >= 0; --r) {
        double sum = 0;
        for (int64_t k = r + 1; k <= c; ++k) sum += at(r, k) * inverse.at(k, c);
        inverse.at(r, c) = -sum / at(r, r);
      }
    }
    return inverse;
  }

 private:
  int64_t n_;
  std::vector<double> values_;
};

void read_upper(const at::Tensor& from, Triangle& to) {
  for (int64_t r = 0; r < from.size(0); ++r) {
    const float* row = from.data_ptr<float>() + r * from.stride(0);
    for (int64_t c = r; c < from.size(0); ++c) to.at(r, c) = row[c];
  }
}

void write_upper(Triangle& from, at::Tensor& to) {
  for (int64_t r = 0; r < to.size(0); ++r) {
    float* row = to.data_ptr<float>() + r * to.stride(0);
    for (int64_t c = r; c < to.size(0); ++c) row[c] = static_cast<float>(from.at(r, c));
  }
}

/// h[:n, :n] -= panel panel^T, in its upper triangle.
void update(const at::Tensor& h, const at::Tensor& panel) {
  const int64_t n = panel.size(0);
  parallel_for((n + kBlock - 1) / kBlock, [&](int64_t i) {
    const int64_t first = i * kBlock, rows = std::min(kBlock, n - first);
    at::Tensor part = h.narrow(0, first, rows).narrow(1, first, n - first);
    add_product(part, -1.0F, panel.narrow(0, first, rows), false, panel.narrow(0, first, n - first), true);
  });
}

}  // namespace

bool upper_cholesky(at::Tensor& h) {
  SCALEBITS_CHECK(h.dim() == 2 && h.size(0) == h.size(1) && h.is_contiguous());
  for (int64_t first = (h.size(0) - 1) / kBlock * kBlock; first >= 0; first -= kBlock) {
    const int64_t n = std::min(kBlock, h.size(0) - first);
    at::Tensor corner = h.narrow(0, first, n).narrow(1, first, n);
    Triangle diagonal(n);
    read_upper(corner, diagonal);
    if (!diagonal.factor()) return false;
    write_upper(diagonal, corner);
    if (first == 0) break;
    // U_IJ = H_IJ U_JJ^-T for the rows above, then what is left of H without this block column.
    Triangle inverse = diagonal.inverse();
    at::Tensor inverse_f32 = at::zeros({n, n});
    write_upper(inverse, inverse_f32);
    at::Tensor above = h.narrow(0, 0, first).narrow(1, first, n);
    const at::Tensor panel = matmul_nt(above, inverse_f32);
    above.copy_(panel);
    update(h, panel);
  }
  return true;
}

}  // namespace scalebits
