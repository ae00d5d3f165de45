// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/feedback.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/model/cholesky.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

/// Shares of the mean diagonal that are added to it, tried in this order. GPTQ begins with 0.01; on models/demo-5m
/// at 2.5 bpw 0.1 is better by 3 % in KL (bench/log/2026-11-22-error-compensation.md).
constexpr double kDamping[] = {0.1, 0.3, 1.0};

/// Rows that one task solves for, and columns between two products.
constexpr int64_t kTaskRows = 64, kSolveCols = 128;

void mirror_upper(at::Tensor& h) {
  const int64_t n = h.size(0);
  float* values = h.data_ptr<float>();
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = r + 1; c < n; ++c) values[c * n + r] = values[r * n + c];
  }
}

/// x = x (I + F)^-T, columns from the last to the first.
void solve_transposed(const at::Tensor& f, at::Tensor& x) {
  const int64_t n = f.size(0);
  for (int64_t end = n; end > 0; end -= std::min(end, kSolveCols)) {
    const int64_t first = std::max<int64_t>(0, end - kSolveCols);
    at::Tensor block = x.narrow(1, first, end - first);
    add_product(block, -1.0F, x.narrow(1, end, n - end), false, f.narrow(0, first, end - first).narrow(1, end, n - end),
                true);
    for (int64_t r = 0; r < x.size(0); ++r) {
      float* row = x.data_ptr<float>() + r * x.stride(0);
      for (int64_t c = end - 1; c >= first; --c) {
        const float* of = f.data_ptr<float>() + c * n;
        double sum = 0;
        for (int64_t k = c + 1; k < end; ++k) sum += static_cast<double>(of[k]) * row[k];
        row[c] = static_cast<float>(row[c] - sum);
      }
    }
  }
}

/// x = x (I + F)^-1, columns from the first to the last.
void solve_upper(const at::Tensor& f, at::Tensor& x) {
  const int64_t n = f.size(0);
  for (int64_t first = 0; first < n; first += kSolveCols) {
    const int64_t end = std::min(n, first + kSolveCols);
    at::Tensor block = x.narrow(1, first, end - first);
    add_product(block, -1.0F, x.narrow(1, 0, first), false, f.narrow(0, 0, first).narrow(1, first, end - first), false);
    for (int64_t r = 0; r < x.size(0); ++r) {
      float* row = x.data_ptr<float>() + r * x.stride(0);
      for (int64_t c = first; c < end; ++c) {
        const float* of = f.data_ptr<float>() + c * n;
        for (int64_t k = c + 1; k < end; ++k) row[k] -= row[c] * of[k];
      }
    }
  }
}

}  // namespace

Feedback error_feedback(at::Tensor hessian, const std::string& name, Log& log) {
  const int64_t n = hessian.size(0);
  const at::Tensor diagonal = hessian.diagonal().clone();
  const double mean = diagonal.mean(at::kDouble).item<double>();
  if (!std::isfinite(mean)) {
    fail<Error>(name, "second moment of the inputs: got {}, expected a finite number. Are the weights sound?", mean);
  }
  for (const double share : kDamping) {
    // A layer whose inputs are all zero rounds every weight for itself.
    hessian.diagonal().copy_(diagonal + (mean > 0 ? share * mean : 1.0));
    at::Tensor u = hessian.clone();
    if (!upper_cholesky(u)) continue;
    if (share != kDamping[0])
      log.warn("{}: Hessian damped by {} of its mean diagonal to be positive definite", name, share);
    mirror_upper(hessian);
    Feedback feedback{u, std::vector<float>(static_cast<size_t>(n)), share, hessian};
    const at::Tensor root = u.diagonal().clone();
    for (int64_t j = 0; j < n; ++j) {
      const float r = root.data_ptr<float>()[j];
      feedback.d[static_cast<size_t>(j)] = r * r;
    }
    u.div_(root);  // U = (I + F) sqrt(D): column j by its own pivot
    return feedback;
  }
  fail<Error>(name,
              "Hessian: not positive definite with its whole mean diagonal added. Is the calibration text sound?");
}

void solve_rows(const Feedback& feedback, at::Tensor& b) {
  SCALEBITS_CHECK(b.is_contiguous() && b.size(1) == feedback.f.size(0));
  parallel_for((b.size(0) + kTaskRows - 1) / kTaskRows, [&](int64_t i) {
    at::Tensor x = b.narrow(0, i * kTaskRows, std::min(kTaskRows, b.size(0) - i * kTaskRows));
    solve_transposed(feedback.f, x);
    for (int64_t r = 0; r < x.size(0); ++r) {
      float* row = x.data_ptr<float>() + r * x.stride(0);
      for (size_t c = 0; c < feedback.d.size(); ++c) row[c] /= feedback.d[c];
    }
    solve_upper(feedback.f, x);
  });
}

}  // namespace scalebits
