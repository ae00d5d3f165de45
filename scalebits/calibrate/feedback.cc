// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/feedback.h"

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/model/cholesky.h"

namespace scalebits {
namespace {

/// Shares of the mean diagonal that are added to it, tried in this order. GPTQ begins with 0.01; on models/demo-5m
/// at 2.5 bpw 0.1 is better by 3 % in KL (bench/log/2026-11-22-error-compensation.md).
constexpr double kDamping[] = {0.1, 0.3, 1.0};

}  // namespace

Feedback error_feedback(at::Tensor hessian, const std::string& name, Log& log) {
  const int64_t n = hessian.size(0);
  const at::Tensor diagonal = hessian.diagonal().clone();
  const double mean = diagonal.mean(at::kDouble).item<double>();
  if (!std::isfinite(mean)) {
    fail<Error>(name, "second moment of the inputs: got {}, expected a finite number. Are the weights sound?", mean);
  }
  for (const double share : kDamping) {
    at::Tensor u = share == kDamping[std::size(kDamping) - 1] ? hessian : hessian.clone();
    // A layer whose inputs are all zero rounds every weight for itself.
    u.diagonal().copy_(diagonal + (mean > 0 ? share * mean : 1.0));
    if (!upper_cholesky(u)) continue;
    if (share != kDamping[0])
      log.warn("{}: Hessian damped by {} of its mean diagonal to be positive definite", name, share);
    Feedback feedback{u, std::vector<float>(static_cast<size_t>(n)), share};
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

}  // namespace scalebits
