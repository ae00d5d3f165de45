// SPDX-License-Identifier: Apache-2.0
// Scale and zero point of least squared error: a coarse search over shrunken ranges, then least squares for fixed
// codes.
#include <array>
#include <cmath>
#include <limits>

#include "scalebits/base/half.h"
#include "scalebits/quantize/clip_sums.h"
#include "scalebits/quantize/fit.h"

namespace scalebits {
namespace {

/// Beyond this the squares of the search would overflow f32. No such weight can be represented anyway: the largest
/// decoded value is 65504 * 255.
constexpr float kLargestSearched = 1e15F;

/// Shares of the min-max range that are tried: kShrinks of them, evenly from kLeastShare[bits] to kMostShare. The lower
/// ends cover the best share of Gaussian and of heavy-tailed (Student t, 4 degrees of freedom) groups of 128. Eight
/// shares with three zeros each come within 0.3 % of an exhaustive search's error up to 6 bits and within 3 % at 7 and
/// 8 (docs/format.md, "Block quantizers"); twelve shares gain less than 0.3 %, one zero instead of three loses 2 to 5
/// %.
constexpr int kShrinks = 8;
constexpr std::array<float, 9> kLeastShare = {0, 0.2F, 0.35F, 0.5F, 0.7F, 0.85F, 0.92F, 0.96F, 0.98F};
constexpr float kMostShare = 1.02F;
constexpr int kRefinements = 3;

class Search {
 public:
  Search(const GroupView& group, const ClipSums& sums, int bits)
      : group_(group), sums_(sums), bits_(bits), top_(static_cast<float>((1 << bits) - 1)) {}

  /// Tries `scale` with the zero fields `zero` and its two neighbours; keeps the best of all tries.
  void try_three(uint16_t scale, int zero) noexcept {
    const int last = (1 << zero_bits(bits_)) - 1;
    // At an end of the field the neighbour beyond it becomes a harmless repetition.
    const std::array<int, 3> fields = {zero, zero > 0 ? zero - 1 : zero, zero < last ? zero + 1 : zero};
    Steps steps = steps_of(scale, zero);
    for (size_t z = 0; z < 3; ++z) steps.zeros[z] = static_cast<float>(fields[z]) * zero_unit(bits_);
    std::array<float, 3> errors;
    sums_.errors(group_, steps, errors.data());
    const float unit = f16_to_float(scale);
    for (size_t z = 0; z < 3; ++z) {
      keep({.scale = scale, .zero = static_cast<uint8_t>(fields[z])}, errors[z] * unit * unit);
    }
  }

  /// Alternates codes and least squares from the best so far, as long as that helps.
  void refine() noexcept {
    GroupParams at = best_;
    for (int round = 0; round <= kRefinements; ++round) {
      Moments m;
      sums_.moments(group_, steps_of(at.scale, at.zero), &m);
      const float unit = f16_to_float(at.scale);
      if (round > 0 && !keep(at, m.ee * unit * unit)) return;
      const GroupParams next = least_squares(at, m);
      if (next == at) return;
      at = next;
    }
  }

  [[nodiscard]] GroupParams best() const { return best_; }

 private:
  [[nodiscard]] Steps steps_of(uint16_t scale, int zero) const {
    return {
        .inverse = 1 / f16_to_float(scale), .zeros = {static_cast<float>(zero) * zero_unit(bits_), 0, 0}, .top = top_};
  }

  bool keep(GroupParams params, float error) noexcept {
    if (!(error < least_)) return false;
    least_ = error;
    best_ = params;
    return true;
  }

  /// The best scale for the codes that `at` gives, its zero kept: with w = scale * (d + e), sum k (d + e - a d)^2 is
  /// least at a = 1 + sum(k e d) / sum(k d d). (Solving for the zero as well gains nothing after try_three: measured.)
  [[nodiscard]] static GroupParams least_squares(GroupParams at, const Moments& m) noexcept {
    const float a = m.dd > 0 ? 1 + m.ed / m.dd : 1;
    return a > 0 ? GroupParams{.scale = f16_scale(f16_to_float(at.scale) * a), .zero = at.zero} : at;
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
  const float range = high - low;
  for (int i = 0; i < kShrinks; ++i) {
    const float step = (kMostShare - kLeastShare[static_cast<size_t>(bits)]) / (kShrinks - 1);
    const float share = kMostShare - step * static_cast<float>(i);
    const uint16_t scale = f16_scale(range * share / static_cast<float>((1 << bits) - 1));
    search.try_three(scale, zero_field(-low * share / f16_to_float(scale), bits));
  }
  search.refine();
  // The refined scale may favour another zero: worth 1 to 3 % of a weighted error at low widths.
  const GroupParams refined = search.best();
  search.try_three(refined.scale, refined.zero);
  if (!(search.best() == refined)) search.refine();
  return search.best();
}

namespace {

class Clip final : public GroupQuantizer {
 public:
  [[nodiscard]] std::string_view name() const override { return "clip"; }
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
