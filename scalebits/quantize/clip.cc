// SPDX-License-Identifier: Apache-2.0
// Scale and zero point of least squared error: a storable scale is one of few, so all that can be best are tried.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "scalebits/format/scale.h"
#include "scalebits/quantize/clip_sums.h"
#include "scalebits/quantize/fit.h"

namespace scalebits {
namespace {

/// Beyond this the squares of the search would overflow f32. No such weight can be represented anyway: the largest
/// decoded value is 960 * 255.
constexpr float kLargestSearched = 1e15F;

/// Every storable scale from kLeastShare[bits] to kMostShare of the min-max range's is tried. The lower ends cover the
/// best share of Gaussian and of heavy-tailed (Student t, 4 degrees of freedom) groups of 128 whose weights count the
/// same. Where they do not, the best may lie lower; of models/demo-5m at 2 to 5 bits no group's did.
constexpr std::array<float, 9> kLeastShare = {0, 0.2F, 0.35F, 0.5F, 0.7F, 0.85F, 0.92F, 0.96F, 0.98F};
constexpr float kMostShare = 1.02F;
/// Steps of the zero point after that. It moves by half a step at most in each; more than two are rare.
constexpr int kZeroSteps = 4;

class Search {
 public:
  Search(const GroupView& group, const ClipSums& sums, int bits)
      : group_(group), sums_(sums), bits_(bits), top_(static_cast<float>((1 << bits) - 1)) {}

  /// Tries `scale` with the zero fields `zero` and its two neighbours; keeps the best of all tries.
  void try_three(uint8_t scale, int zero) noexcept {
    const int last = (1 << zero_bits(bits_)) - 1;
    // At an end of the field the neighbour beyond it becomes a harmless repetition.
    const std::array<int, 3> fields = {zero, zero > 0 ? zero - 1 : zero, zero < last ? zero + 1 : zero};
    const float unit = scale_value(scale);
    Steps steps = {.inverse = 1 / unit, .zeros = {}, .top = top_};
    for (size_t z = 0; z < 3; ++z) steps.zeros[z] = static_cast<float>(fields[z]) * zero_unit(bits_);
    std::array<float, 3> errors;
    sums_.errors(group_, steps, errors.data());
    for (size_t z = 0; z < 3; ++z) {
      keep({.scale = scale, .zero = static_cast<uint8_t>(fields[z])}, errors[z] * unit * unit);
    }
  }

  [[nodiscard]] GroupParams best() const { return best_; }

 private:
  void keep(GroupParams params, float error) noexcept {
    if (!(error < least_)) return;
    least_ = error;
    best_ = params;
  }

  const GroupView& group_;
  const ClipSums& sums_;
  int bits_;
  float top_;
  GroupParams best_;
  float least_ = std::numeric_limits<float>::infinity();
};

}  // namespace

GroupParams fit_clip(std::span<const float> w, std::span<const float> importance, int bits,
                     const ClipSums& sums) noexcept {
  float low = 0;
  float high = 0;
  sums.range(w.data(), static_cast<int64_t>(w.size()), &low, &high);
  const GroupParams start = bits == 1 ? rtn_quantizer().fit(w, {}, 1) : fit_range(low, high, bits);
  if (start.scale == 0 || high > kLargestSearched || low < -kLargestSearched) return start;

  GroupView group{.w = w.data(), .importance = nullptr, .n = static_cast<int64_t>(w.size()), .importance_scale = 1};
  if (!importance.empty()) {
    float least = 0;
    float greatest = 0;
    sums.range(importance.data(), group.n, &least, &greatest);
    // All zero (nothing matters) or beyond f32's reciprocals: every weight counts the same.
    if (const float scale = 1 / greatest; std::isnormal(scale)) {
      group.importance = importance.data();
      group.importance_scale = scale;
    }
  }

  Search search(group, sums, bits);
  search.try_three(start.scale, start.zero);
  const auto top = static_cast<float>((1 << bits) - 1);
  const float step = std::max((high - low) / top, std::numeric_limits<float>::min());
  // The range shrinks towards 0, so its ends keep their proportion, and the zero its place.
  const int zero = zero_field(-low / step, bits);
  const int last = nearest_scale(step * kMostShare);
  for (int field = nearest_scale(step * kLeastShare[static_cast<size_t>(bits)]); field <= last; ++field) {
    search.try_three(static_cast<uint8_t>(field), zero);
  }
  for (int i = 0; i < kZeroSteps; ++i) {
    const GroupParams before = search.best();
    search.try_three(before.scale, before.zero);
    if (search.best() == before) break;
  }
  return search.best();
}

namespace {

class Clip final : public GroupQuantizer {
 public:
  [[nodiscard]] std::string_view name() const override { return "clip"; }
  [[nodiscard]] bool weighs_errors() const override { return true; }
  [[nodiscard]] GroupParams fit(std::span<const float> w, std::span<const float> importance,
                                int bits) const noexcept override {
    return fit_clip(w, importance, bits, clip_sums());
  }
};

}  // namespace

const GroupQuantizer& clip_quantizer() {
  static const Clip quantizer;
  return quantizer;
}

}  // namespace scalebits
