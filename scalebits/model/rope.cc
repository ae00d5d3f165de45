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

double plain_frequency(double theta, size_t i, int64_t rotary_dim) {
  return std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
}

/// @param size  of the turning vectors: cos and sin are multiplied by it
RopeTable::Angles angles(const std::vector<double>& frequencies, int64_t positions, double size) {
  const auto half = static_cast<int64_t>(frequencies.size());
  RopeTable::Angles table{at::empty({positions, 2 * half}, at::kFloat), at::empty({positions, 2 * half}, at::kFloat)};
  float *c = table.cos.data_ptr<float>(), *s = table.sin.data_ptr<float>();
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t i = 0; i < 2 * half; ++i) {
      const double angle = static_cast<double>(p) * frequencies[static_cast<size_t>(i % half)];
      c[p * 2 * half + i] = static_cast<float>(std::cos(angle) * size);
      s[p * 2 * half + i] = static_cast<float>(std::sin(angle) * size);
    }
  }
  return table;
}

/// @param x [B, heads, T, head_dim]; @param cos, sin [T, rotary_dim] f32
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t turned = cos.size(1), half = turned / 2;
  const at::Tensor head = x.narrow(3, 0, turned);
  const at::Tensor swapped = at::cat({-head.narrow(3, half, half), head.narrow(3, 0, half)}, 3);
  const at::Tensor rotated = head * cos.to(x.scalar_type()) + swapped * sin.to(x.scalar_type());
  return turned == x.size(3) ? rotated : at::cat({rotated, x.narrow(3, turned, x.size(3) - turned)}, 3);
}

}  // namespace

std::vector<double> rope_frequencies(const ModelConfig& config, int64_t positions) {
  const RopeScaling& scaling = config.rope_scaling;
  std::vector<double> frequencies(static_cast<size_t>(config.rotary_dim() / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double f = plain_frequency(config.rope_theta, i, config.rotary_dim());
    if (scaling.kind == RopeScaling::Kind::kLinear) f /= scaling.factor;
    if (scaling.kind == RopeScaling::Kind::kLlama3) f = llama3_frequency(f, scaling);
    if (scaling.kind == RopeScaling::Kind::kLongRope) {
      f /= (positions > scaling.original_context ? scaling.long_factor : scaling.short_factor)[i];
    }
    frequencies[i] = f;
  }
  return frequencies;
}

RopeTable::RopeTable(const ModelConfig& config, int64_t positions)
    : full_(angles(rope_frequencies(config, positions), positions, config.rope_scaling.attention_factor)),
      windowed_(full_) {
  if (config.local_rope_theta <= 0) return;
  std::vector<double> local(static_cast<size_t>(config.rotary_dim() / 2));
  for (size_t i = 0; i < local.size(); ++i) local[i] = plain_frequency(config.local_rope_theta, i, config.rotary_dim());
  windowed_ = angles(local, positions, 1.0);
}

at::Tensor RopeTable::apply(const at::Tensor& x, int64_t position, bool windowed) const {
  const int64_t t = x.size(2);
  SCALEBITS_CHECK(position >= 0 && position + t <= positions());
  const Angles& table = of(windowed);
  return rotate(x, table.cos.narrow(0, position, t), table.sin.narrow(0, position, t));
}

at::Tensor RopeTable::apply(const at::Tensor& x, const at::Tensor& position, bool windowed) const {
  const Angles& table = of(windowed);
  return rotate(x, table.cos.index_select(0, position), table.sin.index_select(0, position));
}

}  // namespace scalebits
