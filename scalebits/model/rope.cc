// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/rope.h"

#include <cmath>
#include <numbers>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// Long wavelengths are divided by `factor`, short ones kept, those between blended.
double llama3_frequency(double frequency, const RopeScaling& scaling) {
  const auto context = static_cast<double>(scaling.original_context);
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  if (wavelength > context / scaling.low_freq_factor) return frequency / scaling.factor;
  const double smooth =
      (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1.0 - smooth) * frequency / scaling.factor + smooth * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(const ModelConfig& config) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    double f = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (config.rope_scaling.kind == RopeScaling::Kind::kLinear) f /= config.rope_scaling.factor;
    if (config.rope_scaling.kind == RopeScaling::Kind::kLlama3) f = llama3_frequency(f, config.rope_scaling);
    frequencies.push_back(f);
  }
  return frequencies;
}

RopeTable::RopeTable(const ModelConfig& config, int64_t positions) {
  const std::vector<double> frequencies = rope_frequencies(config);
  const int64_t half = config.head_dim / 2;
  cos_ = at::empty({positions, config.head_dim}, at::kFloat);
  sin_ = at::empty({positions, config.head_dim}, at::kFloat);
  float *c = cos_.data_ptr<float>(), *s = sin_.data_ptr<float>();
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t i = 0; i < config.head_dim; ++i) {
      const double angle = static_cast<double>(p) * frequencies[static_cast<size_t>(i % half)];
      c[p * config.head_dim + i] = static_cast<float>(std::cos(angle));
      s[p * config.head_dim + i] = static_cast<float>(std::sin(angle));
    }
  }
}

at::Tensor RopeTable::apply(const at::Tensor& x, int64_t position) const {
  const int64_t t = x.size(2), half = x.size(3) / 2;
  SCALEBITS_CHECK(position >= 0 && position + t <= positions());
  const at::Tensor c = cos_.narrow(0, position, t).to(x.scalar_type());
  const at::Tensor s = sin_.narrow(0, position, t).to(x.scalar_type());
  const at::Tensor rotated = at::cat({-x.narrow(3, half, half), x.narrow(3, 0, half)}, 3);
  return x * c + rotated * s;
}

}  // namespace scalebits
