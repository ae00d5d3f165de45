// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/mixture_step.h"

#include <algorithm>
#include <array>
#include <utility>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/kernels/dispatch.h"
#include "scalebits/model/experts.h"

namespace scalebits {
namespace {

constexpr int64_t kTaskElements = 1 << 14;

std::span<float> rows_of(std::vector<float>& buffer, int64_t first, int64_t n, int64_t width) {
  return std::span(buffer).subspan(static_cast<size_t>(first * width), static_cast<size_t>(n * width));
}

void at_least(std::vector<float>& buffer, int64_t n) {
  if (static_cast<int64_t>(buffer.size()) < n) buffer.resize(static_cast<size_t>(n));
}

/// With sums side by side, which compilers turn into vector instructions without reordering anything.
float dot(const float* a, const float* b, int64_t n) {
  constexpr int64_t kSums = 16;
  std::array<float, kSums> sums{};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int64_t j = 0; j < kSums; ++j) sums[static_cast<size_t>(j)] += a[i + j] * b[i + j];
  }
  float total = 0;
  for (const float s : sums) total += s;
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

}  // namespace

MixtureStep::MixtureStep(const ModelConfig& config)
    : config_(config),
      next_(static_cast<size_t>(config.experts.n_experts)),
      inputs_(static_cast<size_t>(config.experts.n_experts)) {
  groups_.reserve(inputs_.size());
  products_.reserve(2 * inputs_.size());
}

void MixtureStep::choose(const DecoderLayer& layer, LayerInput& input) {
  const int64_t n = input.n_tokens(), experts = config_.experts.n_experts, active = config_.experts.n_active;
  at_least(logits_, n * experts);
  at_least(weights_, n * active);
  if (static_cast<int64_t>(chosen_.size()) < n * active) chosen_.resize(static_cast<size_t>(n * active));
  const auto& router = dynamic_cast<const DenseLinear&>(*layer.router);
  const float *w = router.weight().data_ptr<float>(), *x = input.floats().data();
  parallel_for(n, [&](int64_t t) {
    const std::span<float> logits = rows_of(logits_, t, 1, experts);
    for (int64_t e = 0; e < experts; ++e) {
      // The same sum for one token as for many, so that a prompt is read as its tokens alone would be.
      logits[static_cast<size_t>(e)] = dot(w + e * config_.d_model, x + t * config_.d_model, config_.d_model);
    }
    const auto first = static_cast<size_t>(t * active);
    const std::span<int32_t> chosen = std::span(chosen_).subspan(first, static_cast<size_t>(active));
    choose_experts(logits, chosen);
    weigh_experts(config_.experts, logits, chosen, rows_of(weights_, t, 1, active));
  });
}

void MixtureStep::group(int64_t n_tokens) {
  const auto n = static_cast<size_t>(n_tokens * config_.experts.n_active);
  if (row_of_.size() < n) row_of_.resize(n);
  std::fill(next_.begin(), next_.end(), 0);
  for (size_t i = 0; i < n; ++i) ++next_[static_cast<size_t>(chosen_[i])];
  groups_.clear();
  int64_t first = 0;
  for (size_t e = 0; e < next_.size(); ++e) {
    const int64_t count = std::exchange(next_[e], first);
    if (count > 0) groups_.push_back({static_cast<int64_t>(e), first, count});
    first += count;
  }
  for (size_t i = 0; i < n; ++i) row_of_[i] = next_[static_cast<size_t>(chosen_[i])]++;
}

void MixtureStep::multiply_groups(const DecoderLayer& layer, LayerInput& input, Activations activations) {
  const int64_t n = input.n_tokens(), active = config_.experts.n_active, rows = n * active;
  const int64_t d = config_.d_model, f = config_.experts.d_ff;
  at_least(gate_, rows * f);
  at_least(up_, rows * f);
  at_least(outputs_, rows * d);
  const bool one = n == 1;  // all of its experts get the same
  if (!one) {
    at_least(gathered_, rows * d);
    const std::span<const float> x = input.floats();
    parallel_for(rows, [&](int64_t i) {
      std::copy_n(x.data() + i / active * d, d, gathered_.data() + row_of_[static_cast<size_t>(i)] * d);
    });
  }
  products_.clear();
  for (size_t g = 0; g < groups_.size(); ++g) {
    const auto [expert, first, count] = groups_[g];
    if (!one) inputs_[g].set(rows_of(gathered_, first, count, d), count);
    LayerInput* own = one ? nullptr : &inputs_[g];
    products_.push_back({&layer[{Proj::kGate, expert}], rows_of(gate_, first, count, f), own});
    products_.push_back({&layer[{Proj::kUp, expert}], rows_of(up_, first, count, f), own});
  }
  multiply(products_, input, activations);
  const int64_t elements = rows * f;
  parallel_for(ceil_div(elements, kTaskElements), [&](int64_t task) {
    const int64_t first = task * kTaskElements;
    active_kernels().swiglu(gate_.data() + first, up_.data() + first, std::min(kTaskElements, elements - first));
  });
  products_.clear();
  for (size_t g = 0; g < groups_.size(); ++g) {
    const auto [expert, first, count] = groups_[g];
    inputs_[g].set(rows_of(gate_, first, count, f), count);
    products_.push_back({&layer[{Proj::kDown, expert}], rows_of(outputs_, first, count, d), &inputs_[g]});
  }
  multiply(products_, input, activations);
}

void MixtureStep::run(const DecoderLayer& layer, LayerInput& input, Activations activations, std::span<float> out) {
  const int64_t n = input.n_tokens(), d = config_.d_model, active = config_.experts.n_active;
  SCALEBITS_CHECK(static_cast<int64_t>(out.size()) == n * d);
  choose(layer, input);
  group(n);
  multiply_groups(layer, input, activations);
  parallel_for(n, [&](int64_t t) {
    float* to = out.data() + t * d;
    std::fill_n(to, d, 0.0F);
    for (int64_t i = t * active; i < (t + 1) * active; ++i) {
      const float weight = weights_[static_cast<size_t>(i)];
      const float* from = outputs_.data() + row_of_[static_cast<size_t>(i)] * d;
      for (int64_t c = 0; c < d; ++c) to[c] += weight * from[c];
    }
  });
}

}  // namespace scalebits
