// SPDX-License-Identifier: Apache-2.0
/// The packed form of one weight matrix: four byte streams in the order the kernels read them (docs/format.md). This
/// folder is the only owner of the layout.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scalebits/format/grid.h"

namespace scalebits {

/// Scale and zero point of one group: weight = scale_value(scale) * (code - zero * zero_unit(bits)). The product is
/// exact in f32 (4 + 10 significant bits), so every implementation decodes the same floats.
struct GroupParams {
  uint8_t scale = 0;  ///< format/scale.h
  uint8_t zero = 0;   ///< zero_bits(bits) bits
  bool operator==(const GroupParams&) const = default;
};

/// Non-owning view of a packed matrix, mapped from a file or owned by PackedMatrix.
struct PackedView {
  BlockGrid grid;
  std::span<const uint8_t> bits;  ///< [n_blocks], 1..8
  std::span<const uint8_t> codes;
  std::span<const uint8_t> scales;
  std::span<const uint8_t> zeros;
};

/// Where each row panel begins in the three streams, found once from the width map. [row_blocks + 1] each.
struct PanelOffsets {
  std::vector<int64_t> codes, scales, zeros;
};

/// @throws FormatError naming `where` when a width is outside 1..8 or a stream's length differs from the grid's.
PanelOffsets check_packed(const PackedView& view, const char* where);

/// Owns the four streams of one matrix; sized from the width map, filled block by block.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// @param bits [grid.n_blocks()], 1..8
  PackedMatrix(BlockGrid grid, std::vector<uint8_t> bits);

  /// Writes one block. Blocks may be written in any order and from several threads at once.
  /// @param codes  [rows.count, cols.count] row-major, each < 2^bits; padding is filled with the group's rounded zero
  /// @param params [rows.count, groups] row-major
  void set_block(int64_t block, std::span<const uint8_t> codes, std::span<const GroupParams> params);

  [[nodiscard]] PackedView view() const;
  [[nodiscard]] int64_t total_bytes() const;

 private:
  BlockGrid grid_;
  std::vector<uint8_t> bits_, codes_, scales_, zeros_;
  PanelOffsets panels_;
};

/// The inverse of set_block for real (unpadded) rows and columns. Slow; for tests, export and inspection.
void get_block(const PackedView& view, const PanelOffsets& panels, int64_t block, std::span<uint8_t> codes,
               std::span<GroupParams> params);

}  // namespace scalebits
