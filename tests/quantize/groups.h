// SPDX-License-Identifier: Apache-2.0
/// Random groups and errors measured in double, for the quantizers' tests.
#pragma once

#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "scalebits/base/rng.h"
#include "scalebits/format/scale.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits::test {

/// n draws of N(0, 1) (Box-Muller).
inline std::vector<float> gaussian(size_t n, Rng& rng) {
  std::vector<float> out(n);
  for (auto& v : out) {
    const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
    v = static_cast<float>(radius * std::cos(2 * std::numbers::pi * rng.uniform()));
  }
  return out;
}

/// How far the computed t = w * (1 / scale) + zero may be from the true one, in steps, for |w / scale| <= 2 * 2^bits:
/// the reciprocal, the product and the sum round once each, relative 2^-24 of at most 3 * 2^bits.
inline double slack_steps(int bits) { return 9.0 * std::exp2(bits) * 0x1p-24; }

/// Weighted squared error of the decoded group, in double, decoded by the formula.
inline double squared_error(std::span<const float> w, std::span<const float> importance, GroupParams p, int bits) {
  const double scale = scale_value(p.scale);
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double e = scale * (round_code(w[i], p, bits) - p.zero * (bits < 8 ? 0.5 : 1.0)) - w[i];
    sum += (importance.empty() ? 1.0 : importance[i]) * e * e;
  }
  return sum;
}

}  // namespace scalebits::test
