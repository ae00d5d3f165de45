// SPDX-License-Identifier: Apache-2.0
/// The table of compute kernels of one instruction set. Plain structs only: files built for one instruction set include
/// this header and nothing else of ours (docs/design.md, decision 7).
#pragma once

#include <cstdint>

namespace scalebits {

inline constexpr int kMaxGemvTokens = 8;

/// A packed matrix as the kernels see it (docs/format.md); every length was checked by check_packed.
struct PackedPanels {
  int64_t out_features, in_features;
  int32_t block_rows, block_cols, group_size;
  const uint8_t* bits;   ///< [row_blocks * col_blocks]
  const uint8_t* codes;  ///< the three streams
  const uint8_t* scales;
  const uint8_t* zeros;
  const int64_t* code_offset;  ///< [row_blocks + 1], first byte of each panel
  const int64_t* scale_offset;
  const int64_t* zero_offset;
};

struct KernelTable {
  const char* name;  ///< as in SCALEBITS_ISA
  bool (*available)() noexcept;

  /// y[t, r] = sum over columns c of x[t, c] * w[r, c] for the rows r of one panel.
  ///
  /// @param x  [n_tokens, in_features] f32, rows x_stride apart; nothing beyond in_features is read
  /// @param y  [n_tokens, out_features] f32, rows y_stride apart; only the panel's rows are written, and overwritten
  /// @param n_tokens  1..kMaxGemvTokens
  ///
  /// Order of summation: each table's own, but a sum of the in_features products in f32, each product rounded once, and
  /// the same for a row whatever the number of tokens and threads. Hence two tables, and the exact value, differ by at
  /// most gamma(n) * sum_c |x[t, c] * w[r, c]|, gamma(n) = n * u / (1 - n * u), n = in_features, u = 2^-24 (Higham
  /// 2002, section 3.1). The reference adds columns from left to right.
  void (*gemv)(const PackedPanels& w, int64_t panel, const float* x, int64_t x_stride, int32_t n_tokens, float* y,
               int64_t y_stride) noexcept;

  /// The exact weights of one panel.
  /// @param out  [rows of the panel, in_features] f32, rows `stride` >= in_features apart
  void (*decode_panel)(const PackedPanels& w, int64_t panel, float* out, int64_t stride) noexcept;
};

namespace reference {
/// Portable and plain: what the other tables are tested against.
extern const KernelTable kTable;
}  // namespace reference

}  // namespace scalebits
