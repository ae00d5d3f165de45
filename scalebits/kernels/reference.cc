// SPDX-License-Identifier: Apache-2.0
// What every kernel means, written to be read beside docs/format.md.
#include <algorithm>
#include <array>

#include "scalebits/format/codes.h"
#include "scalebits/format/grid.h"
#include "scalebits/format/scale.h"
#include "scalebits/kernels/kernels.h"

namespace scalebits::reference {
namespace {

constexpr int kTileCodes = kTileRows * kTileCols;

/// Calls visit(row, col, weights) for each tile of a panel: strips from top to bottom inside a block, blocks from left
/// to right. row and col are the matrix position of the tile's first weight, weights are its kTileCodes decoded values.
/// The tiles of any one row come from left to right.
template <class Visit>
void for_each_tile(const PackedPanels& w, int64_t panel, const Visit& visit) {
  const uint8_t* codes = w.codes + w.code_offset[panel];
  const uint8_t* scales = w.scales + w.scale_offset[panel];
  const uint8_t* zeros = w.zeros + w.zero_offset[panel];
  const int64_t first_row = panel * w.block_rows;
  const int64_t end_row = std::min(first_row + w.block_rows, w.out_features);
  const int64_t col_blocks = (w.in_features + w.block_cols - 1) / w.block_cols;
  for (int64_t block = 0; block < col_blocks; ++block) {
    const int bits = w.bits[panel * col_blocks + block];
    const int64_t first_col = block * w.block_cols;
    const int64_t end_col = std::min(first_col + w.block_cols, w.in_features);
    const auto code_bytes = static_cast<size_t>(kTileCodes / 8 * bits);
    const auto zero_bytes = static_cast<size_t>(kTileRows / 8 * zero_bits(bits));
    for (int64_t row = first_row; row < end_row; row += kTileRows) {
      for (int64_t group = first_col; group < end_col; group += w.group_size) {
        std::array<float, kTileRows> scale;
        std::array<float, kTileRows> zero;
        std::array<uint8_t, kTileRows> fields;
        unpack_fields({zeros, zero_bytes}, zero_bits(bits), fields);
        for (size_t r = 0; r < kTileRows; ++r) {
          scale[r] = scale_value(scales[r]);
          zero[r] = static_cast<float>(fields[r]) * zero_unit(bits);
        }
        scales += kTileRows;
        zeros += zero_bytes;
        const int64_t end_group = std::min<int64_t>(group + w.group_size, end_col);
        for (int64_t col = group; col < end_group; col += kTileCols) {
          std::array<uint8_t, kTileCodes> tile;
          std::array<float, kTileCodes> weights;
          unpack_fields({codes, code_bytes}, bits, tile);
          codes += code_bytes;
          for (size_t j = 0; j < kTileCodes; ++j) {
            weights[j] = scale[j / kTileCols] * (static_cast<float>(tile[j]) - zero[j / kTileCols]);
          }
          visit(row, col, weights.data());
        }
      }
    }
  }
}

bool available() noexcept { return true; }

void gemv(const PackedPanels& w, int64_t panel, const float* x, int64_t x_stride, int32_t n_tokens, float* y,
          int64_t y_stride) noexcept {
  const int64_t first_row = panel * w.block_rows;
  const int64_t end_row = std::min(first_row + w.block_rows, w.out_features);
  for (int32_t t = 0; t < n_tokens; ++t) std::fill(y + t * y_stride + first_row, y + t * y_stride + end_row, 0.0F);
  for_each_tile(w, panel, [&](int64_t row, int64_t col, const float* weights) {
    const int64_t n_rows = std::min<int64_t>(kTileRows, end_row - row);
    const int64_t n_cols = std::min<int64_t>(kTileCols, w.in_features - col);
    for (int32_t t = 0; t < n_tokens; ++t) {
      for (int64_t r = 0; r < n_rows; ++r) {
        float sum = y[t * y_stride + row + r];
        for (int64_t c = 0; c < n_cols; ++c) sum += weights[r * kTileCols + c] * x[t * x_stride + col + c];
        y[t * y_stride + row + r] = sum;
      }
    }
  });
}

void decode_panel(const PackedPanels& w, int64_t panel, float* out, int64_t stride) noexcept {
  const int64_t first_row = panel * w.block_rows;
  const int64_t end_row = std::min(first_row + w.block_rows, w.out_features);
  for_each_tile(w, panel, [&](int64_t row, int64_t col, const float* weights) {
    const int64_t n_rows = std::min<int64_t>(kTileRows, end_row - row);
    const int64_t n_cols = std::min<int64_t>(kTileCols, w.in_features - col);
    for (int64_t r = 0; r < n_rows; ++r) {
      for (int64_t c = 0; c < n_cols; ++c) out[(row - first_row + r) * stride + col + c] = weights[r * kTileCols + c];
    }
  });
}

}  // namespace

const KernelTable kTable = {.name = "reference", .available = available, .gemv = gemv, .decode_panel = decode_panel};

}  // namespace scalebits::reference
