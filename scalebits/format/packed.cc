// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/packed.h"

#include <algorithm>
#include <array>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/format/codes.h"

namespace scalebits {
namespace {

constexpr int kTileCodes = kTileRows * kTileCols;

/// Byte positions of one block in the three streams, and its shape.
struct BlockPlace {
  int64_t codes, scales, zeros;
  Extent rows, cols;
  int64_t groups, strips, tiles;
  int bits;
};

PanelOffsets panel_offsets(const BlockGrid& grid, std::span<const uint8_t> bits) {
  const auto n = static_cast<size_t>(grid.row_blocks()) + 1;
  PanelOffsets offsets{std::vector<int64_t>(n), std::vector<int64_t>(n), std::vector<int64_t>(n)};
  int64_t codes = 0;
  int64_t scales = 0;
  int64_t zeros = 0;
  for (int64_t block = 0; block < grid.n_blocks(); ++block) {
    const int width = bits[static_cast<size_t>(block)];
    codes += grid.code_bytes(block, width);
    scales += grid.scale_bytes(block);
    zeros += grid.zero_bytes(block, width);
    if ((block + 1) % grid.col_blocks() == 0) {
      const auto panel = static_cast<size_t>((block + 1) / grid.col_blocks());
      offsets.codes[panel] = codes;
      offsets.scales[panel] = scales;
      offsets.zeros[panel] = zeros;
    }
  }
  return offsets;
}

BlockPlace place_of(const BlockGrid& grid, std::span<const uint8_t> bits, const PanelOffsets& panels, int64_t block) {
  SCALEBITS_CHECK(block >= 0 && block < grid.n_blocks());
  const int64_t panel = block / grid.col_blocks();
  const int64_t col_block = block % grid.col_blocks();
  const Extent rows = grid.rows(panel);
  const Extent cols = grid.cols(col_block);
  BlockPlace place{.codes = panels.codes[static_cast<size_t>(panel)],
                   .scales = panels.scales[static_cast<size_t>(panel)],
                   .zeros = panels.zeros[static_cast<size_t>(panel)],
                   .rows = rows,
                   .cols = cols,
                   .groups = grid.groups(col_block),
                   .strips = rows.padded / kTileRows,
                   .tiles = cols.padded / kTileCols,
                   .bits = bits[static_cast<size_t>(block)]};
  for (int64_t left = panel * grid.col_blocks(); left < block; ++left) {
    const int width = bits[static_cast<size_t>(left)];
    place.codes += grid.code_bytes(left, width);
    place.scales += grid.scale_bytes(left);
    place.zeros += grid.zero_bytes(left, width);
  }
  return place;
}

/// The code that a weight of 0 gets: the zero point rounded to nearest, ties to even.
uint8_t rounded_zero(uint8_t zero, int bits) {
  if (bits == kMaxBits) return zero;
  const int below = zero >> 1;
  const int nearest = below + ((zero & 1) != 0 ? below & 1 : 0);
  return static_cast<uint8_t>(std::min(nearest, (1 << bits) - 1));
}

}  // namespace

PanelOffsets check_packed(const PackedView& view, const char* where) {
  const BlockGrid& grid = view.grid;
  if (view.bits.size() != static_cast<uint64_t>(grid.n_blocks())) {
    fail<FormatError>(where, "width map: got {} bytes, expected {} (one for each block)", view.bits.size(),
                      grid.n_blocks());
  }
  for (size_t block = 0; block < view.bits.size(); ++block) {
    const int width = view.bits[block];
    if (width < kMinBits || width > kMaxBits) {
      fail<FormatError>(where, "width of block {}: got {}, expected {}..{}", block, width, kMinBits, kMaxBits);
    }
  }
  PanelOffsets panels = panel_offsets(grid, view.bits);
  const auto check = [&](const char* what, size_t got, int64_t expected) {
    if (got != static_cast<uint64_t>(expected)) {
      fail<FormatError>(where, "{}: got {} bytes, expected {}. Was the file truncated?", what, got, expected);
    }
  };
  check("codes", view.codes.size(), panels.codes.back());
  check("scales", view.scales.size(), panels.scales.back());
  check("zeros", view.zeros.size(), panels.zeros.back());
  return panels;
}

PackedMatrix::PackedMatrix(BlockGrid grid, std::vector<uint8_t> bits) : grid_(grid), bits_(std::move(bits)) {
  SCALEBITS_CHECK(static_cast<int64_t>(bits_.size()) == grid_.n_blocks());
  for (const uint8_t width : bits_) SCALEBITS_CHECK(width >= kMinBits && width <= kMaxBits);
  panels_ = panel_offsets(grid_, bits_);
  codes_.resize(static_cast<size_t>(panels_.codes.back()));
  scales_.resize(static_cast<size_t>(panels_.scales.back()));
  zeros_.resize(static_cast<size_t>(panels_.zeros.back()));
}

void PackedMatrix::set_block(int64_t block, std::span<const uint8_t> codes, std::span<const GroupParams> params) {
  const BlockPlace at = place_of(grid_, bits_, panels_, block);
  SCALEBITS_CHECK(static_cast<int64_t>(codes.size()) == at.rows.count * at.cols.count);
  SCALEBITS_CHECK(static_cast<int64_t>(params.size()) == at.rows.count * at.groups);
  for (const uint8_t code : codes) SCALEBITS_CHECK(code >> at.bits == 0);
  for (const GroupParams& p : params) SCALEBITS_CHECK(p.zero >> zero_bits(at.bits) == 0);

  uint8_t* code_out = codes_.data() + at.codes;
  uint8_t* scale_out = scales_.data() + at.scales;
  uint8_t* zero_out = zeros_.data() + at.zeros;
  const auto code_step = static_cast<size_t>(kTileCodes / 8 * at.bits);
  const auto zero_step = static_cast<size_t>(kTileRows / 8 * zero_bits(at.bits));
  for (int64_t strip = 0; strip < at.strips; ++strip) {
    const int64_t top = strip * kTileRows;
    const int64_t n_rows = std::min<int64_t>(kTileRows, at.rows.count - top);
    for (int64_t tile = 0; tile < at.tiles; ++tile, code_out += code_step) {
      std::array<uint8_t, kTileCodes> fields{};
      for (int64_t r = 0; r < n_rows; ++r) {
        for (int64_t c = 0; c < kTileCols; ++c) {
          const int64_t col = tile * kTileCols + c;
          const bool real = col < at.cols.count;
          fields[static_cast<size_t>(r * kTileCols + c)] =
              real ? codes[static_cast<size_t>((top + r) * at.cols.count + col)]
                   : rounded_zero(params[static_cast<size_t>((top + r + 1) * at.groups - 1)].zero, at.bits);
        }
      }
      pack_fields(fields, at.bits, {code_out, code_step});
    }
    for (int64_t group = 0; group < at.groups; ++group, zero_out += zero_step) {
      std::array<uint8_t, kTileRows> fields{};
      for (int64_t r = 0; r < kTileRows; ++r) {
        const GroupParams p = r < n_rows ? params[static_cast<size_t>((top + r) * at.groups + group)] : GroupParams{};
        fields[static_cast<size_t>(r)] = p.zero;
        *scale_out++ = p.scale;
      }
      pack_fields(fields, zero_bits(at.bits), {zero_out, zero_step});
    }
  }
}

PackedView PackedMatrix::view() const { return {grid_, bits_, codes_, scales_, zeros_}; }

int64_t PackedMatrix::total_bytes() const {
  return static_cast<int64_t>(bits_.size() + codes_.size() + scales_.size() + zeros_.size());
}

void get_block(const PackedView& view, const PanelOffsets& panels, int64_t block, std::span<uint8_t> codes,
               std::span<GroupParams> params) {
  const BlockPlace at = place_of(view.grid, view.bits, panels, block);
  SCALEBITS_CHECK(static_cast<int64_t>(codes.size()) == at.rows.count * at.cols.count);
  SCALEBITS_CHECK(static_cast<int64_t>(params.size()) == at.rows.count * at.groups);
  const auto code_step = static_cast<size_t>(kTileCodes / 8 * at.bits);
  const auto zero_step = static_cast<size_t>(kTileRows / 8 * zero_bits(at.bits));
  std::array<uint8_t, kTileCodes> fields{};
  std::array<uint8_t, kTileRows> zeros{};
  for (int64_t row = 0; row < at.rows.count; ++row) {
    const int64_t strip = row / kTileRows;
    const int64_t r = row % kTileRows;
    for (int64_t col = 0; col < at.cols.count; ++col) {
      const auto tile = static_cast<size_t>(strip * at.tiles + col / kTileCols);
      if (col % kTileCols == 0) {
        unpack_fields(view.codes.subspan(static_cast<size_t>(at.codes) + tile * code_step, code_step), at.bits, fields);
      }
      codes[static_cast<size_t>(row * at.cols.count + col)] =
          fields[static_cast<size_t>(r * kTileCols + col % kTileCols)];
    }
    for (int64_t group = 0; group < at.groups; ++group) {
      const auto index = static_cast<size_t>(strip * at.groups + group);
      unpack_fields(view.zeros.subspan(static_cast<size_t>(at.zeros) + index * zero_step, zero_step),
                    zero_bits(at.bits), zeros);
      const auto scale = static_cast<size_t>(at.scales + static_cast<int64_t>(index) * kTileRows + r);
      params[static_cast<size_t>(row * at.groups + group)] = {.scale = view.scales[scale],
                                                              .zero = zeros[static_cast<size_t>(r)]};
    }
  }
}

}  // namespace scalebits
