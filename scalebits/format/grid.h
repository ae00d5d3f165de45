// SPDX-License-Identifier: Apache-2.0
/// The block grid over a weight matrix and the exact number of bytes that every part of it takes (docs/format.md).
#pragma once

#include <cstdint>

namespace scalebits {

inline constexpr int kMinBits = 1;
inline constexpr int kMaxBits = 8;
/// A kernel tile is 16 rows x 4 columns: 64 codes = 8 * bits bytes at any width.
inline constexpr int kTileRows = 16;
inline constexpr int kTileCols = 4;

/// Integer sums of a group, codes of 8 bits times activations of 8 bits, stay below 2^30.
inline constexpr int kMaxGroupSize = 16384;

/// Bits of the zero-point field of a group whose codes have `bits` bits: half steps up to 7 bits, whole steps at 8.
/// Half steps, because the best uniform quantizer of a symmetric distribution has its zero between two codes.
constexpr int zero_bits(int bits) { return bits < 8 ? bits + 1 : 8; }
/// What one unit of the zero field is worth in code steps: the zero point is `field * zero_unit(bits)`.
constexpr float zero_unit(int bits) { return bits < 8 ? 0.5F : 1.0F; }

/// Shape of the unit of allocation and of the unit of scaling. `rows` is a multiple of 16, `cols` of `group_size`,
/// `group_size` of 4 and at most kMaxGroupSize.
struct BlockSpec {
  int rows = 128;
  int cols = 128;
  int group_size = 128;
  bool operator==(const BlockSpec&) const = default;
};

/// A run of rows (or columns) of one block.
struct Extent {
  int64_t first = 0;   ///< index in the matrix
  int64_t count = 0;   ///< how many really exist
  int64_t padded = 0;  ///< what is stored: count rounded up to 16 rows or 4 columns
};

/// The grid of `spec` blocks over a matrix [out_features, in_features]. Blocks are numbered row panel by row panel,
/// left to right: block = row_block * col_blocks() + col_block. Blocks at the right and bottom edge are smaller.
class BlockGrid {
 public:
  BlockGrid() = default;
  /// @throws InvalidArgument when the spec breaks the rules above or a side is not in 1..2^31.
  BlockGrid(int64_t out_features, int64_t in_features, BlockSpec spec);

  [[nodiscard]] int64_t out_features() const { return out_features_; }
  [[nodiscard]] int64_t in_features() const { return in_features_; }
  [[nodiscard]] const BlockSpec& spec() const { return spec_; }
  [[nodiscard]] int64_t row_blocks() const;
  [[nodiscard]] int64_t col_blocks() const;
  [[nodiscard]] int64_t n_blocks() const { return row_blocks() * col_blocks(); }
  [[nodiscard]] int64_t n_weights() const { return out_features_ * in_features_; }

  [[nodiscard]] Extent rows(int64_t row_block) const;
  [[nodiscard]] Extent cols(int64_t col_block) const;
  /// Scale groups along the columns of one column block (the last may be shorter than group_size).
  [[nodiscard]] int64_t groups(int64_t col_block) const;

  [[nodiscard]] int64_t code_bytes(int64_t block, int bits) const;
  [[nodiscard]] int64_t zero_bytes(int64_t block, int bits) const;
  [[nodiscard]] int64_t scale_bytes(int64_t block) const;
  /// Everything this block costs at this width: codes, zeros, scales and its byte of the width map.
  [[nodiscard]] int64_t block_bytes(int64_t block, int bits) const;

  bool operator==(const BlockGrid&) const = default;

 private:
  int64_t out_features_ = 0;
  int64_t in_features_ = 0;
  BlockSpec spec_;
};

}  // namespace scalebits
