// SPDX-License-Identifier: Apache-2.0
#include "scalebits/quantize/pack_linear.h"

#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"

namespace scalebits {

PackedMatrix pack_linear(const LinearPlan& linear, std::span<const float> weight, const GroupQuantizer& quantizer,
                         std::span<const float> importance) {
  const BlockGrid& grid = linear.grid;
  SCALEBITS_CHECK(static_cast<int64_t>(weight.size()) == grid.n_weights());
  SCALEBITS_CHECK(importance.empty() || static_cast<int64_t>(importance.size()) == grid.in_features());
  PackedMatrix packed(grid, linear.bits);
  parallel_for(grid.n_blocks(), [&](int64_t block) {
    const Extent rows = grid.rows(block / grid.col_blocks()), cols = grid.cols(block % grid.col_blocks());
    const int64_t group = grid.spec().group_size, groups = grid.groups(block % grid.col_blocks());
    const int bits = linear.bits[static_cast<size_t>(block)];
    std::vector<uint8_t> codes(static_cast<size_t>(rows.count * cols.count));
    std::vector<GroupParams> params(static_cast<size_t>(rows.count * groups));
    for (int64_t r = 0; r < rows.count; ++r) {
      const float* row = weight.data() + (rows.first + r) * grid.in_features() + cols.first;
      for (int64_t g = 0; g < groups; ++g) {
        const auto n = static_cast<size_t>(std::min(group, cols.count - g * group));
        const std::span<const float> w(row + g * group, n);
        GroupParams& p = params[static_cast<size_t>(r * groups + g)];
        p = quantizer.fit(w, of_columns(importance, cols.first + g * group, n), bits);
        quantize_row(w, p, bits, {codes.data() + r * cols.count + g * group, n});
      }
    }
    packed.set_block(block, codes, params);
  });
  return packed;
}

}  // namespace scalebits
