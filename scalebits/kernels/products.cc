// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/products.h"

#include <algorithm>
#include <memory>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"

namespace scalebits {
namespace {

/// Bytes of weights that are worth a task of their own, and tasks for each thread: a thread that is held up by other
/// work of the machine leaves the rest to the others.
constexpr int64_t kLeastTaskBytes = 32 << 10;
constexpr int64_t kTasksPerThread = 4;

void check_order(const PackedView& w, const PackedOrder& order) {
  SCALEBITS_CHECK(order.rows.empty() || static_cast<int64_t>(order.rows.size()) == w.grid.out_features());
  SCALEBITS_CHECK(order.cols.empty() || static_cast<int64_t>(order.cols.size()) == w.grid.in_features());
}

int64_t bytes_before(const PanelOffsets& panels, int64_t panel) {
  const auto p = static_cast<size_t>(panel);
  return panels.codes[p] + panels.scales[p] + panels.zeros[p];
}

int64_t n_tasks(int64_t bytes, int64_t n_panels) {
  const int64_t wanted = std::min(kTasksPerThread * num_threads(), bytes / kLeastTaskBytes);
  return std::clamp<int64_t>(wanted, 1, n_panels);
}

/// The first panel that `reached` holds for, or `count`; it holds for all behind that one.
int64_t first_panel(int64_t count, const auto& reached) {
  int64_t first = 0;
  for (int64_t end = count; first < end;) {
    const int64_t middle = first + (end - first) / 2;
    if (reached(middle)) {
      end = middle;
    } else {
      first = middle + 1;
    }
  }
  return first;
}

/// Where kernels write the rows of one panel, before they go to their places. Kept by the thread.
float* panel_scratch(int64_t n) {
  thread_local std::vector<float> scratch;
  if (static_cast<int64_t>(scratch.size()) < n) scratch.resize(static_cast<size_t>(n));
  return scratch.data();
}

/// @param sums  [n_tokens, stride], of the rows of one panel
void put_rows(const float* sums, int64_t stride, Extent rows, std::span<const int32_t> order, int64_t n_tokens,
              int64_t out_features, float* y) {
  for (int64_t t = 0; t < n_tokens; ++t) {
    const float* from = sums + t * stride;
    float* to = y + t * out_features;
    if (order.empty()) {
      std::copy_n(from, rows.count, to + rows.first);
      continue;
    }
    for (int64_t r = 0; r < rows.count; ++r) to[order[static_cast<size_t>(rows.first + r)]] = from[r];
  }
}

/// x with its columns in stored order and its tokens interleaved, padded with 0.
std::vector<float> interleaved(std::span<const float> x, int64_t n_tokens, std::span<const int32_t> cols) {
  const int64_t n = static_cast<int64_t>(x.size()) / n_tokens;
  std::vector<float> out(static_cast<size_t>(round_up(n, kTileCols) * n_tokens));
  for (int64_t c = 0; c < n; ++c) {
    const int64_t from = cols.empty() ? c : cols[static_cast<size_t>(c)];
    for (int64_t t = 0; t < n_tokens; ++t) {
      out[static_cast<size_t>(c * n_tokens + t)] = x[static_cast<size_t>(t * n + from)];
    }
  }
  return out;
}

void multiply_panels(const KernelTable& kernels, const Int8Product& p, int64_t first, int64_t end) {
  const PackedPanels packed = packed_panels(*p.w, *p.panels);
  const std::span<const Int8Tokens> sets = p.x->sets();
  for (int64_t panel = first; panel < end; ++panel) {
    const Extent rows = p.w->grid.rows(panel);
    float* sums = panel_scratch(p.x->n_tokens() * rows.padded);
    kernels.gemm_int8(packed, panel, sets.data(), static_cast<int64_t>(sets.size()), sums, rows.padded);
    put_rows(sums, rows.padded, rows, p.rows, p.x->n_tokens(), packed.out_features, p.y.data());
  }
}

}  // namespace

void gemv_packed(const PackedView& w, const PanelOffsets& panels, std::span<const float> x, int64_t n_tokens,
                 std::span<float> y, const PackedOrder& order) {
  SCALEBITS_CHECK(n_tokens >= 1 && n_tokens <= kMaxGemvTokens);
  SCALEBITS_CHECK(static_cast<int64_t>(x.size()) == n_tokens * w.grid.in_features());
  SCALEBITS_CHECK(static_cast<int64_t>(y.size()) == n_tokens * w.grid.out_features());
  check_order(w, order);
  const KernelTable& kernels = active_kernels();
  const PackedPanels packed = packed_panels(w, panels);
  const std::vector<float> values = interleaved(x, n_tokens, order.cols);
  const FloatTokens tokens{.values = values.data(), .n_tokens = static_cast<int32_t>(n_tokens)};
  const int64_t tasks = n_tasks(bytes_before(panels, w.grid.row_blocks()), w.grid.row_blocks());
  const std::vector<int64_t> bounds = split_panels(panels, tasks);
  parallel_for(tasks, [&](int64_t task) {
    for (int64_t panel = bounds[static_cast<size_t>(task)]; panel < bounds[static_cast<size_t>(task) + 1]; ++panel) {
      const Extent rows = w.grid.rows(panel);
      float* sums = panel_scratch(n_tokens * rows.padded);
      kernels.gemv(packed, panel, tokens, sums, rows.padded);
      put_rows(sums, rows.padded, rows, order.rows, n_tokens, packed.out_features, y.data());
    }
  });
}

void multiply_int8(std::span<const Int8Product> products) {
  int64_t bytes = 0, n_panels = 0;
  for (const Int8Product& p : products) {
    SCALEBITS_CHECK(p.x->n_columns() == p.w->grid.in_features() && p.x->group_size() == p.w->grid.spec().group_size);
    SCALEBITS_CHECK(static_cast<int64_t>(p.y.size()) == p.x->n_tokens() * p.w->grid.out_features());
    check_order(*p.w, {p.rows, {}});
    n_panels += p.w->grid.row_blocks();
    bytes += bytes_before(*p.panels, p.w->grid.row_blocks());
  }
  if (n_panels == 0) return;
  const KernelTable& kernels = active_kernels();
  const int64_t tasks = n_tasks(bytes, n_panels);
  // Task i does the panels whose middle byte is in [i, i + 1) of `tasks` equal parts.
  parallel_for(tasks, [&](int64_t task) {
    const double share = static_cast<double>(bytes) / static_cast<double>(tasks);
    int64_t before = 0;
    for (const Int8Product& p : products) {
      const auto owner = [&](int64_t panel) {
        const int64_t twice = 2 * before + bytes_before(*p.panels, panel) + bytes_before(*p.panels, panel + 1);
        return std::min(static_cast<int64_t>(static_cast<double>(twice) / 2 / share), tasks - 1);
      };
      const int64_t count = p.w->grid.row_blocks();
      const int64_t first = first_panel(count, [&](int64_t panel) { return owner(panel) >= task; });
      const int64_t end = first_panel(count, [&](int64_t panel) { return owner(panel) > task; });
      multiply_panels(kernels, p, first, end);
      before += bytes_before(*p.panels, count);
    }
  });
}

void decode_packed(const PackedView& w, const PanelOffsets& panels, std::span<float> out, const PackedOrder& order) {
  SCALEBITS_CHECK(static_cast<int64_t>(out.size()) == w.grid.n_weights());
  check_order(w, order);
  const KernelTable& kernels = active_kernels();
  const PackedPanels packed = packed_panels(w, panels);
  const int64_t n = packed.in_features;
  parallel_for(w.grid.row_blocks(), [&](int64_t panel) {
    const Extent rows = w.grid.rows(panel);
    if (order.rows.empty() && order.cols.empty()) {
      kernels.decode_panel(packed, panel, out.data() + rows.first * n, n);
      return;
    }
    const auto decoded = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(rows.count * n));
    kernels.decode_panel(packed, panel, decoded.get(), n);
    for (int64_t r = 0; r < rows.count; ++r) {
      const int64_t stored = rows.first + r;
      const float* from = decoded.get() + r * n;
      float* to = out.data() + (order.rows.empty() ? stored : order.rows[static_cast<size_t>(stored)]) * n;
      if (order.cols.empty()) std::copy_n(from, n, to);
      for (size_t c = 0; c < order.cols.size(); ++c) to[order.cols[c]] = from[c];
    }
  });
}

}  // namespace scalebits
