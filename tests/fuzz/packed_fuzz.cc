// SPDX-License-Identifier: Apache-2.0
/// Any bytes as a packed matrix: check_packed refuses it, or every kernel of every instruction set here reads it, stays
/// inside the streams (they lie in heap blocks of exactly their size) and gives the floats of the portable one.
///
/// Input: 8 bytes of shape and lengths (read_case), the width map, then the content of the streams, repeated as often
/// as it takes.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "scalebits/base/errors.h"
#include "scalebits/format/codes.h"
#include "scalebits/kernels/dispatch.h"
#include "scalebits/kernels/int8_activations.h"

namespace {

using namespace scalebits;

void require(bool condition) {
  if (!condition) std::abort();
}

struct Case {
  BlockGrid grid;
  int64_t n_tokens = 1;
  std::vector<uint8_t> bits, codes, scales, zeros;
  [[nodiscard]] PackedView view() const { return {grid, bits, codes, scales, zeros}; }
};

/// @param head  rows, columns, block rows, group size, groups of a block, tokens, what to do with widths and lengths
Case read_case(const uint8_t* head, const uint8_t* rest, size_t size) {
  const int group_size = kTileCols * (1 + head[3] % 64), rows = kTileRows * (1 + head[2] % 4);
  Case c;
  c.grid = BlockGrid(1 + head[0] % 80, 1 + (head[1] | head[7] << 8) % 700,
                     {.rows = rows, .cols = group_size * (1 + head[4] % 4), .group_size = group_size});
  c.n_tokens = 1 + head[5] % 20;
  size_t used = 0;
  const auto next = [&] { return size == 0 ? uint8_t{0} : rest[used++ % size]; };
  const bool any_width = (head[6] & 1) != 0;
  int64_t n_codes = 0, n_scales = 0, n_zeros = 0;
  for (int64_t block = 0; block < c.grid.n_blocks(); ++block) {
    const uint8_t byte = next();
    c.bits.push_back(any_width ? byte : static_cast<uint8_t>(1 + byte % 8));
    const int width = std::clamp<int>(c.bits.back(), kMinBits, kMaxBits);
    n_codes += c.grid.code_bytes(block, width);
    n_scales += c.grid.scale_bytes(block);
    n_zeros += c.grid.zero_bytes(block, width);
  }
  // One of the lengths may be wrong by a byte, which must be refused.
  const auto fill = [&](std::vector<uint8_t>& stream, int64_t n, int which) {
    const int off = head[6] >> 1;
    if (off == 2 * which + 1) ++n;
    if (off == 2 * which + 2) --n;
    stream.resize(static_cast<size_t>(n));
    for (uint8_t& byte : stream) byte = next();
  };
  fill(c.codes, n_codes, 0);
  fill(c.scales, n_scales, 1);
  fill(c.zeros, n_zeros, 2);
  return c;
}

std::vector<float> activations(int64_t n) {
  std::vector<float> x;
  for (int64_t i = 0; i < n; ++i) x.push_back(static_cast<float>(i * 37 % 255 - 127) / 64);
  return x;
}

/// What one table makes of all panels: products of the first set and of all sets, and the weights.
std::vector<float> results(const KernelTable& kernels, const Case& c, const PanelOffsets& panels) {
  const PackedView view = c.view();
  const PackedPanels packed = packed_panels(view, panels);
  const int64_t cols = c.grid.in_features();
  Int8Activations x;
  x.assign(activations(c.n_tokens * cols), c.n_tokens, c.grid.spec().group_size, {});
  std::vector<float> plain = activations(cols);
  plain.resize(static_cast<size_t>(cols + kTileCols));  // 0 in the padding
  std::vector<float> all;
  for (int64_t panel = 0; panel < c.grid.row_blocks(); ++panel) {
    const Extent rows = c.grid.rows(panel);
    std::vector<float> y(static_cast<size_t>(c.n_tokens * rows.padded)), w(static_cast<size_t>(rows.count * cols));
    const auto sets = static_cast<int64_t>(x.sets().size());
    kernels.gemv_int8(packed, panel, x.sets()[0], y.data(), rows.padded);
    all.insert(all.end(), y.begin(), y.end());
    kernels.gemm_int8(packed, panel, x.sets().data(), sets, y.data(), rows.padded);
    all.insert(all.end(), y.begin(), y.end());
    kernels.decode_panel(packed, panel, w.data(), cols);
    all.insert(all.end(), w.begin(), w.end());
    kernels.gemv(packed, panel, {plain.data(), 1}, y.data(), rows.padded);  // its sums have an order of their own
    for (int64_t r = 0; r < rows.count; ++r) require(std::isfinite(y[static_cast<size_t>(r)]));
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kHead = 8;
  if (size < kHead) return 0;
  const Case c = read_case(data, data + kHead, size - kHead);
  PanelOffsets panels;
  try {
    panels = check_packed(c.view(), "packed");
  } catch (const FormatError& error) {
    require(std::string_view(error.what()).size() < 2000);
    return 0;
  }
  for (const uint8_t width : c.bits) require(width >= kMinBits && width <= kMaxBits);
  const std::vector<float> expected = results(reference::kTable, c, panels);
  for (const std::string_view name : available_kernels()) {
    require(results(select_kernels(name), c, panels) == expected);
  }
  return 0;
}
