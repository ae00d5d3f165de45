// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/gptq.h"

#include <algorithm>
#include <utility>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/model/gemm.h"
#include "scalebits/pack/refine.h"

namespace scalebits {
namespace {

/// One row panel of a matrix: all its blocks from left to right.
class Panel {
 public:
  Panel(const LinearPlan& linear, const at::Tensor& weight, const Feedback& feedback, const GroupQuantizer& quantizer,
        int64_t row_block)
      : grid_(linear.grid),
        linear_(linear),
        feedback_(feedback),
        quantizer_(quantizer),
        row_block_(row_block),
        rows_(grid_.rows(row_block)),
        weight_(weight.narrow(0, rows_.first, rows_.count)),
        error_(at::empty({rows_.count, grid_.in_features()})) {
    panel_.decoded = at::empty_like(error_);
  }

  void pack(int sweeps, PackedMatrix& out) {
    for (int64_t c = 0; c < grid_.col_blocks(); ++c) round_block(c);
    refine(linear_, row_block_, weight_, feedback_, sweeps, panel_);
    for (int64_t c = 0; c < grid_.col_blocks(); ++c) {
      const auto k = static_cast<size_t>(c);
      out.set_block(row_block_ * grid_.col_blocks() + c, panel_.codes[k], panel_.params[k]);
    }
  }

  [[nodiscard]] const at::Tensor& decoded() const { return panel_.decoded; }

 private:
  void round_block(int64_t col_block) {
    const Extent cols = grid_.cols(col_block);
    const int64_t block = row_block_ * grid_.col_blocks() + col_block, groups = grid_.groups(col_block);
    at::Tensor target = weight_.narrow(1, cols.first, cols.count).clone(at::MemoryFormat::Contiguous);
    add_product(target, -1.0F, error_.narrow(1, 0, cols.first), false,
                feedback_.f.narrow(0, 0, cols.first).narrow(1, cols.first, cols.count), false);
    std::vector<uint8_t> codes(static_cast<size_t>(rows_.count * cols.count));
    std::vector<GroupParams> params(static_cast<size_t>(rows_.count * groups));
    for (int64_t r = 0; r < rows_.count; ++r) {
      round_row(target.data_ptr<float>() + r * cols.count, r, cols, linear_.bits[static_cast<size_t>(block)],
                codes.data() + r * cols.count, params.data() + r * groups);
    }
    panel_.codes.push_back(std::move(codes));
    panel_.params.push_back(std::move(params));
  }

  /// @param target [cols.count] weights with the errors of earlier blocks fed back; overwritten
  void round_row(float* target, int64_t row, Extent cols, int bits, uint8_t* codes, GroupParams* params) {
    const int64_t width = grid_.in_features(), size = grid_.spec().group_size;
    const float* weight = weight_.data_ptr<float>() + row * width + cols.first;
    float* error = error_.data_ptr<float>() + row * width + cols.first;
    float* decoded = panel_.decoded.data_ptr<float>() + row * width + cols.first;
    for (int64_t c = 0; c < cols.count; ++c) {
      GroupParams& p = params[c / size];
      if (c % size == 0) {
        const int64_t n = std::min(size, cols.count - c);
        const std::vector<float> ahead = expected(target + c, weight + c, cols.first + c, n);
        p = quantizer_.fit(ahead, {feedback_.d.data() + cols.first + c, static_cast<size_t>(n)}, bits);
      }
      codes[c] = round_code(target[c], p, bits);
      decoded[c] = decode(codes[c], p, bits);
      const float step = error[c] = decoded[c] - weight[c];
      const float* f = feedback_.f.data_ptr<float>() + (cols.first + c) * width + cols.first;
      for (int64_t next = c + 1; next < cols.count; ++next) target[next] -= step * f[next];
    }
  }

  /// What the weights of a group will be rounded from if none of them has an error of its own: each then passes on only
  /// the shift that earlier columns gave it. Fitting to `target` itself would leave that out (7 % more error).
  [[nodiscard]] std::vector<float> expected(const float* target, const float* weight, int64_t first, int64_t n) const {
    std::vector<float> ahead(target, target + n);
    for (int64_t c = 0; c < n; ++c) {
      const float shift = ahead[static_cast<size_t>(c)] - weight[c];
      const float* f = feedback_.f.data_ptr<float>() + (first + c) * grid_.in_features() + first;
      for (int64_t next = c + 1; next < n; ++next) ahead[static_cast<size_t>(next)] -= shift * f[next];
    }
    return ahead;
  }

  const BlockGrid& grid_;
  const LinearPlan& linear_;
  const Feedback& feedback_;
  const GroupQuantizer& quantizer_;
  int64_t row_block_;
  Extent rows_;
  at::Tensor weight_, error_;  ///< error: decoded - weight
  RoundedPanel panel_;
};

}  // namespace

PackedMatrix pack_compensated(const LinearPlan& linear, const at::Tensor& weight, const Feedback& feedback,
                              const GroupQuantizer& quantizer, at::Tensor* decoded, int sweeps) {
  const BlockGrid& grid = linear.grid;
  SCALEBITS_CHECK(weight.is_contiguous() && feedback.f.size(0) == grid.in_features());
  PackedMatrix packed(grid, linear.bits);
  if (decoded != nullptr) *decoded = at::empty_like(weight);
  parallel_for(grid.row_blocks(), [&](int64_t row_block) {
    Panel panel(linear, weight, feedback, quantizer, row_block);
    panel.pack(sweeps, packed);
    if (decoded == nullptr) return;
    const Extent rows = grid.rows(row_block);
    decoded->narrow(0, rows.first, rows.count).copy_(panel.decoded());
  });
  return packed;
}

}  // namespace scalebits
