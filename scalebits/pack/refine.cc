// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/refine.h"

#include <algorithm>

#include "scalebits/format/scale.h"
#include "scalebits/model/gemm.h"
#include "scalebits/quantize/quantizer.h"

namespace scalebits {
namespace {

/// How far scale and zero fields are tried at once.
constexpr int kScaleReach = 2, kZeroReach = 2;

/// Quadratic forms of a group of one row: with D = a q - b 1 added to its decoded weights, tr(E H E^T) grows by
/// 2 (a qp - b p1) + a^2 qq - 2 a b q1 + b^2 ones.
struct GroupForms {
  double qp = 0, p1 = 0, qq = 0, q1 = 0, ones = 0;
  [[nodiscard]] double growth(double a, double b) const {
    return 2 * (a * qp - b * p1) + a * a * qq - 2 * a * b * q1 + b * b * ones;
  }
};

class Refiner {
 public:
  Refiner(const LinearPlan& linear, int64_t row_block, const at::Tensor& target, const Feedback& feedback,
          RoundedPanel& panel)
      : grid_(linear.grid),
        bits_(linear.bits.data() + row_block * grid_.col_blocks()),
        h_(feedback.h),
        n_(grid_.in_features()),
        rows_(target.size(0)),
        panel_(panel),
        pull_(at::zeros({rows_, n_})) {
    add_product(pull_, 1.0F, panel_.decoded - target, false, h_, false);
  }

  /// @return whether anything changed
  bool sweep() {
    bool changed = false;
    for (int64_t c = 0; c < grid_.col_blocks(); ++c) changed |= refine_block(c);
    return changed;
  }

 private:
  /// One group of one row: pointers to its first column.
  struct Group {
    uint8_t* codes;
    GroupParams* params;
    float* decoded;
    float* pull;        ///< of its block alone
    const float* h;     ///< H[first, first]
    const float* ones;  ///< column sums of H over the group
    int64_t n;
    int64_t left, right;  ///< columns of the block before and after the first of the group
    int bits;
  };

  bool refine_block(int64_t col_block) {
    const Extent cols = grid_.cols(col_block);
    const int64_t size = grid_.spec().group_size, groups = grid_.groups(col_block);
    const std::vector<float> ones = column_sums(cols, size);
    at::Tensor step = panel_.decoded.narrow(1, cols.first, cols.count).clone(at::MemoryFormat::Contiguous);
    std::vector<float> pull(static_cast<size_t>(cols.count));
    bool changed = false;
    for (int64_t r = 0; r < rows_; ++r) {
      std::copy_n(pull_.data_ptr<float>() + r * n_ + cols.first, cols.count, pull.data());
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t at = g * size, first = cols.first + at;
        const Group group = {.codes = panel_.codes[static_cast<size_t>(col_block)].data() + r * cols.count + at,
                             .params = panel_.params[static_cast<size_t>(col_block)].data() + r * groups + g,
                             .decoded = panel_.decoded.data_ptr<float>() + r * n_ + first,
                             .pull = pull.data() + at,
                             .h = h_.data_ptr<float>() + first * n_ + first,
                             .ones = ones.data() + at,
                             .n = std::min(size, cols.count - at),
                             .left = at,
                             .right = cols.count - at,
                             .bits = bits_[col_block]};
        if (group.params->scale == 0) continue;  // all codes decode to 0
        changed |= refit(group);
        changed |= round_again(group);
      }
    }
    if (!changed) return false;
    // The rows' pulls on other blocks, all at once.
    step = panel_.decoded.narrow(1, cols.first, cols.count) - step;
    add_product(pull_, 1.0F, step, false, h_.narrow(0, cols.first, cols.count), false);
    return true;
  }

  [[nodiscard]] std::vector<float> column_sums(Extent cols, int64_t size) const {
    std::vector<float> sums(static_cast<size_t>(cols.count));
    for (int64_t i = 0; i < cols.count; ++i) {
      const int64_t first = i / size * size, end = std::min(first + size, cols.count);
      const float* row = h_.data_ptr<float>() + (cols.first + i) * n_ + cols.first;
      for (int64_t j = first; j < end; ++j) sums[static_cast<size_t>(j)] += row[j];
    }
    return sums;
  }

  /// The decoded weight of column i of the group becomes `value`.
  void move(const Group& group, int64_t i, float value) const {
    const float by = value - group.decoded[i];
    group.decoded[i] = value;
    const float* row = group.h + i * n_;
    for (int64_t j = -group.left; j < group.right; ++j) group.pull[j] += by * row[j];
  }

  [[nodiscard]] GroupForms forms(const Group& group) const {
    std::vector<float> hq(static_cast<size_t>(group.n));
    for (int64_t i = 0; i < group.n; ++i) {
      const auto code = static_cast<float>(group.codes[i]);
      const float* row = group.h + i * n_;
      for (int64_t j = 0; j < group.n; ++j) hq[static_cast<size_t>(j)] += code * row[j];
    }
    GroupForms f;
    for (int64_t i = 0; i < group.n; ++i) {
      const double q = group.codes[i], of = hq[static_cast<size_t>(i)];
      f.qp += q * group.pull[i];
      f.p1 += group.pull[i];
      f.qq += q * of;
      f.q1 += of;
      f.ones += group.ones[i];
    }
    return f;
  }

  bool refit(const Group& group) const {
    const GroupForms f = forms(group);
    const GroupParams now = *group.params;
    const double unit = zero_unit(group.bits), scale = scale_value(now.scale), shift = scale * now.zero * unit;
    GroupParams best = now;
    // Less than this is within the rounding of `pull`.
    double least = -1e-6 * (scale * scale * f.qq + shift * shift * f.ones);
    const int last_zero = (1 << zero_bits(group.bits)) - 1;
    for (int s = std::max<int>(kLeastScale, now.scale - kScaleReach);
         s <= std::min<int>(kGreatestScale, now.scale + kScaleReach); ++s) {
      const double other = scale_value(static_cast<uint8_t>(s));
      for (int z = std::max(0, now.zero - kZeroReach); z <= std::min(last_zero, now.zero + kZeroReach); ++z) {
        const double growth = f.growth(other - scale, other * z * unit - shift);
        if (growth >= least) continue;
        least = growth;
        best = {static_cast<uint8_t>(s), static_cast<uint8_t>(z)};
      }
    }
    if (best == now) return false;
    *group.params = best;
    for (int64_t i = 0; i < group.n; ++i) move(group, i, decode(group.codes[i], best, group.bits));
    return true;
  }

  bool round_again(const Group& group) const {
    bool changed = false;
    for (int64_t i = 0; i < group.n; ++i) {
      const float best = group.decoded[i] - group.pull[i] / group.h[i * n_ + i];
      const uint8_t code = round_code(best, *group.params, group.bits);
      if (code == group.codes[i]) continue;
      group.codes[i] = code;
      move(group, i, decode(code, *group.params, group.bits));
      changed = true;
    }
    return changed;
  }

  const BlockGrid& grid_;
  const uint8_t* bits_;  ///< of the panel's blocks
  const at::Tensor& h_;
  int64_t n_, rows_;
  RoundedPanel& panel_;
  at::Tensor pull_;  ///< E H: half of what tr(E H E^T) falls by for each step of a decoded weight
};

}  // namespace

void refine(const LinearPlan& linear, int64_t row_block, const at::Tensor& target, const Feedback& feedback, int sweeps,
            RoundedPanel& panel) {
  Refiner refiner(linear, row_block, target, feedback, panel);
  for (int i = 0; i < sweeps; ++i) {
    if (!refiner.sweep()) return;
  }
}

}  // namespace scalebits
