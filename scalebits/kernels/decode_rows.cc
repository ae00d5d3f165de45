// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/kernels/products.h"

namespace scalebits {
namespace {

/// The rows of one panel. Kept by the thread: generation asks for a row for every token.
std::span<const float> decoded_panel(const PackedPanels& packed, int64_t panel, int64_t n_values) {
  thread_local std::vector<float> decoded;
  if (static_cast<int64_t>(decoded.size()) < n_values) decoded.resize(static_cast<size_t>(n_values));
  active_kernels().decode_panel(packed, panel, decoded.data(), packed.in_features);
  return decoded;
}

void decode_row(const PackedView& w, const PanelOffsets& panels, int64_t row, std::span<float> out) {
  SCALEBITS_CHECK(row >= 0 && row < w.grid.out_features());
  const int64_t n = w.grid.in_features(), block_rows = w.grid.spec().rows, panel = row / block_rows;
  const std::span<const float> decoded = decoded_panel(packed_panels(w, panels), panel, w.grid.rows(panel).count * n);
  std::copy_n(decoded.data() + row % block_rows * n, n, out.data());
}

}  // namespace

void decode_rows(const PackedView& w, const PanelOffsets& panels, std::span<const int32_t> rows, std::span<float> out) {
  const int64_t n = w.grid.in_features(), block_rows = w.grid.spec().rows;
  SCALEBITS_CHECK(static_cast<int64_t>(out.size()) == static_cast<int64_t>(rows.size()) * n);
  if (rows.size() == 1) return decode_row(w, panels, rows[0], out);
  std::vector<size_t> order(rows.size());  // of the asked rows, by panel
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rows[a] < rows[b]; });
  std::vector<size_t> firsts;  // in `order`, of each panel that is asked for
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t row = rows[order[i]];
    SCALEBITS_CHECK(row >= 0 && row < w.grid.out_features());
    if (i == 0 || row / block_rows != rows[order[i - 1]] / block_rows) firsts.push_back(i);
  }
  firsts.push_back(order.size());

  const PackedPanels packed = packed_panels(w, panels);
  parallel_for(static_cast<int64_t>(firsts.size()) - 1, [&](int64_t i) {
    const size_t first = firsts[static_cast<size_t>(i)], end = firsts[static_cast<size_t>(i) + 1];
    const int64_t panel = rows[order[first]] / block_rows;
    const std::span<const float> decoded = decoded_panel(packed, panel, w.grid.rows(panel).count * n);
    for (size_t k = first; k < end; ++k) {
      const float* row = decoded.data() + (rows[order[k]] - panel * block_rows) * n;
      std::copy(row, row + n, out.data() + static_cast<int64_t>(order[k]) * n);
    }
  });
}

}  // namespace scalebits
