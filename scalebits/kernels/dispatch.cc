// SPDX-License-Identifier: Apache-2.0
#include "scalebits/kernels/dispatch.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"

namespace scalebits {
namespace {

/// Best first. A faster table goes in front.
constexpr std::array kTables = {&reference::kTable};

constexpr int64_t kLanes = 16;
/// Tokens multiplied together, so that a decoded row is read from cache once for all of them.
constexpr int64_t kTokensAtOnce = 4;

/// Dot product of a row with up to kTokensAtOnce tokens in the order that gemm_packed documents.
void dot_tokens(const float* row, const float* x, int64_t n, int64_t n_tokens, float* y, int64_t y_stride) noexcept {
  for (int64_t t = 0; t < n_tokens; ++t) {
    std::array<float, kLanes> lanes{};
    const float* xt = x + t * n;
    int64_t c = 0;
    for (; c + kLanes <= n; c += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) lanes[static_cast<size_t>(l)] += row[c + l] * xt[c + l];
    }
    for (int64_t l = 0; c + l < n; ++l) lanes[static_cast<size_t>(l)] += row[c + l] * xt[c + l];
    float sum = 0;
    for (const float lane : lanes) sum += lane;
    y[t * y_stride] = sum;
  }
}

void check_order(const PackedView& w, const PackedOrder& order) {
  SCALEBITS_CHECK(order.rows.empty() || static_cast<int64_t>(order.rows.size()) == w.grid.out_features());
  SCALEBITS_CHECK(order.cols.empty() || static_cast<int64_t>(order.cols.size()) == w.grid.in_features());
}

/// x with its columns in stored order: x itself, or a copy.
class GatheredColumns {
 public:
  GatheredColumns(std::span<const float> x, int64_t n_tokens, std::span<const int32_t> cols) : data_(x.data()) {
    if (cols.empty()) return;
    copy_ = std::make_unique_for_overwrite<float[]>(x.size());
    parallel_for(n_tokens, [&](int64_t t) {
      const float* from = x.data() + t * static_cast<int64_t>(cols.size());
      float* to = copy_.get() + t * static_cast<int64_t>(cols.size());
      for (size_t c = 0; c < cols.size(); ++c) to[c] = from[cols[c]];
    });
    data_ = copy_.get();
  }
  [[nodiscard]] const float* data() const { return data_; }

 private:
  std::unique_ptr<float[]> copy_;
  const float* data_;
};

void check_product(const PackedView& w, size_t n_x, int64_t n_tokens, size_t n_y) {
  SCALEBITS_CHECK(n_tokens >= 1);
  SCALEBITS_CHECK(static_cast<int64_t>(n_x) == n_tokens * w.grid.in_features());
  SCALEBITS_CHECK(static_cast<int64_t>(n_y) == n_tokens * w.grid.out_features());
}

}  // namespace

std::vector<std::string_view> available_kernels() {
  std::vector<std::string_view> names;
  for (const KernelTable* table : kTables) {
    if (table->available()) names.emplace_back(table->name);
  }
  return names;
}

const KernelTable& select_kernels(std::string_view name) {
  for (const KernelTable* table : kTables) {
    if (table->available() && (name.empty() || name == table->name)) return *table;
  }
  fail<DeviceError>("SCALEBITS_ISA", "instruction set: got '{}', expected one of those this machine runs: {}", name,
                    fmt::join(available_kernels(), ", "));
}

const KernelTable& active_kernels() {
  static const KernelTable& table = [&]() -> const KernelTable& {
    const char* forced = std::getenv("SCALEBITS_ISA");
    return select_kernels(forced == nullptr ? "" : forced);
  }();
  return table;
}

PackedPanels packed_panels(const PackedView& view, const PanelOffsets& panels) {
  return {.out_features = view.grid.out_features(),
          .in_features = view.grid.in_features(),
          .block_rows = view.grid.spec().rows,
          .block_cols = view.grid.spec().cols,
          .group_size = view.grid.spec().group_size,
          .bits = view.bits.data(),
          .codes = view.codes.data(),
          .scales = view.scales.data(),
          .zeros = view.zeros.data(),
          .code_offset = panels.codes.data(),
          .scale_offset = panels.scales.data(),
          .zero_offset = panels.zeros.data()};
}

std::vector<int64_t> split_panels(const PanelOffsets& panels, int64_t n_parts) {
  SCALEBITS_CHECK(n_parts >= 1);
  const auto n_panels = static_cast<int64_t>(panels.codes.size()) - 1;
  const auto bytes_before = [&](int64_t panel) {
    const auto p = static_cast<size_t>(panel);
    return panels.codes[p] + panels.scales[p] + panels.zeros[p];
  };
  std::vector<int64_t> bounds = {0};
  for (int64_t part = 1; part < n_parts; ++part) {
    // In double: the product of two 62-bit numbers does not fit, and a bound off by one panel costs nothing.
    const double target =
        static_cast<double>(bytes_before(n_panels)) * static_cast<double>(part) / static_cast<double>(n_parts);
    int64_t bound = bounds.back();
    // The panel that straddles the target goes to the side that holds more of it.
    while (bound < n_panels && static_cast<double>(bytes_before(bound) + bytes_before(bound + 1)) < 2 * target) ++bound;
    bounds.push_back(bound);
  }
  bounds.push_back(n_panels);
  return bounds;
}

void gemv_packed(const PackedView& w, const PanelOffsets& panels, std::span<const float> x, int64_t n_tokens,
                 std::span<float> y, const PackedOrder& order) {
  check_product(w, x.size(), n_tokens, y.size());
  check_order(w, order);
  SCALEBITS_CHECK(n_tokens <= kMaxGemvTokens);
  const KernelTable& kernels = active_kernels();
  const PackedPanels packed = packed_panels(w, panels);
  const GatheredColumns columns(x, n_tokens, order.cols);
  // Kernels write the rows of a panel side by side; from there they are scattered at once.
  std::unique_ptr<float[]> stored_rows;
  if (!order.rows.empty()) stored_rows = std::make_unique_for_overwrite<float[]>(y.size());
  float* out = order.rows.empty() ? y.data() : stored_rows.get();
  const int64_t n_parts = std::min<int64_t>(num_threads(), w.grid.row_blocks()), n = packed.out_features;
  const std::vector<int64_t> bounds = split_panels(panels, n_parts);
  parallel_for(n_parts, [&](int64_t part) {
    for (int64_t panel = bounds[static_cast<size_t>(part)]; panel < bounds[static_cast<size_t>(part) + 1]; ++panel) {
      kernels.gemv(packed, panel, columns.data(), packed.in_features, static_cast<int32_t>(n_tokens), out, n);
      if (order.rows.empty()) continue;
      const Extent rows = w.grid.rows(panel);
      for (int64_t t = 0; t < n_tokens; ++t) {
        for (int64_t r = rows.first; r < rows.first + rows.count; ++r) {
          y[static_cast<size_t>(t * n + order.rows[static_cast<size_t>(r)])] = out[t * n + r];
        }
      }
    }
  });
}

void gemm_packed(const PackedView& w, const PanelOffsets& panels, std::span<const float> x, int64_t n_tokens,
                 std::span<float> y, const PackedOrder& order) {
  check_product(w, x.size(), n_tokens, y.size());
  check_order(w, order);
  const KernelTable& kernels = active_kernels();
  const PackedPanels packed = packed_panels(w, panels);
  const GatheredColumns columns(x, n_tokens, order.cols);
  const int64_t n = packed.in_features;
  parallel_for(w.grid.row_blocks(), [&](int64_t panel) {
    const Extent rows = w.grid.rows(panel);
    std::vector<float> decoded(static_cast<size_t>(rows.count * n));
    kernels.decode_panel(packed, panel, decoded.data(), n);
    for (int64_t t = 0; t < n_tokens; t += kTokensAtOnce) {
      const int64_t now = std::min(kTokensAtOnce, n_tokens - t);
      for (int64_t r = 0; r < rows.count; ++r) {
        const int64_t stored = rows.first + r;
        const int64_t row = order.rows.empty() ? stored : order.rows[static_cast<size_t>(stored)];
        dot_tokens(decoded.data() + r * n, columns.data() + t * n, n, now, y.data() + t * packed.out_features + row,
                   packed.out_features);
      }
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
