// SPDX-License-Identifier: Apache-2.0
/// The table of compute kernels of one instruction set. Plain structs only: files built for one instruction set include
/// this header and those of the same set, and nothing else of ours (docs/design.md, "Kernels").
#pragma once

#include <cstdint>

namespace scalebits {

/// Tokens that a kernel multiplies at once.
inline constexpr int kMaxGemvTokens = 8;
/// Keys that lie side by side in a key cache, and query rows that `attend` takes at once.
inline constexpr int kKeyTile = 16;
inline constexpr int kMaxQueryRows = 8;

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

/// Activations of 1..kMaxGemvTokens tokens in stored column order, interleaved by token; 0 beyond in_features.
struct FloatTokens {
  const float* values;  ///< [in_features rounded up to 4][n_tokens]
  int32_t n_tokens;
};

/// Weights of so many bits and more are multiplied by both parts of an activation, narrower ones, whose own error is
/// much larger than that of 8 bits, by the first alone.
inline constexpr int kTwoPartBits = 4;

/// The same in 8 bits: x = scale * value, |value| <= 127, one scale for a token's columns of one group; and what is
/// left of x once more in 8 bits, with 1/254 of the scale.
struct Int8Tokens {
  struct Part {
    const int8_t* values;  ///< [ceil(in_features / 4)][n_tokens][4]
    const float* scales;   ///< [groups][n_tokens]
    const float* sums;     ///< [groups][n_tokens], of the values of a group
  };
  Part parts[2];
  int32_t n_tokens;
};

/// Query rows that see the same keys and values; of one KV head, in general several query heads and tokens.
struct AttentionRows {
  const float* q;            ///< [n_rows, head_dim], times the scale of the scores
  const int64_t* first_key;  ///< [n_rows], a row sees the keys first_key..n_keys - 1, at least one
  const int64_t* n_keys;     ///< [n_rows]
  const uint16_t* k;         ///< f16 [ceil(keys / kKeyTile)][head_dim][kKeyTile]; not a row's keys: not used, any value
  const uint16_t* v;         ///< f16 [keys][head_dim]
  int32_t n_rows;            ///< 1..kMaxQueryRows
  int32_t head_dim;          ///< a multiple of 2
  float cap;                 ///< a score becomes cap * tanh(score / cap); 0 = it stays
};

struct KernelTable {
  const char* name;  ///< as in SCALEBITS_ISA

  /// y[t, r] = sum over columns c of x[t, c] * w[r, c] for the rows r of one panel.
  ///
  /// @param y  [n_tokens, y_stride] f32, overwritten; y_stride >= the panel's rows rounded up to 16, padding rows get 0
  ///
  /// Order of summation: each table's own, but the same for a row whatever the number of tokens and threads, and each
  /// product goes through at most three roundings before the in_features - 1 of the sum. Hence two tables, and the
  /// exact value, differ by at most gamma(n) * sum_c |x[t, c] * w[r, c]|, gamma(n) = n * u / (1 - n * u), n =
  /// in_features + 2, u = 2^-24 (Higham 2002, section 3.1). The reference adds columns from left to right.
  void (*gemv)(const PackedPanels& w, int64_t panel, const FloatTokens& x, float* y, int64_t y_stride) noexcept;

  /// The same for activations in 8 bits. Every table gives the same floats, by definition:
  ///
  ///     y = 0; for each group g of columns, left to right, and each part p that the block's width takes:
  ///       dot = sum of value[p, t, c] * code[r, c]                               (an integer below 2^30, then as f32)
  ///       y = fma(fma(-zero[r, g], sum[p, g, t], dot), scale[r, g] * scale[p, g, t], y)
  void (*gemv_int8)(const PackedPanels& w, int64_t panel, const Int8Tokens& x, float* y, int64_t y_stride) noexcept;

  /// gemv_int8 for several sets of tokens; codes are unpacked once for all of them.
  /// @param y  the results of set i begin at y + i * kMaxGemvTokens * y_stride: every set but the last is full
  void (*gemm_int8)(const PackedPanels& w, int64_t panel, const Int8Tokens* x, int64_t n_sets, float* y,
                    int64_t y_stride) noexcept;

  /// The exact weights of one panel.
  /// @param out  [rows of the panel, in_features] f32, rows `stride` >= in_features apart
  void (*decode_panel)(const PackedPanels& w, int64_t panel, float* out, int64_t stride) noexcept;

  /// y[t, r] = sum over c of x[t, c] * w[r, c] for rows of a dense matrix in bf16.
  /// @param w  [n_rows, n_cols], contiguous; @param x  [n_tokens, n_cols] f32; @param y  [n_tokens, y_stride]
  /// Bound as for gemv, n = n_cols.
  void (*gemv_bf16)(const uint16_t* w, int64_t n_rows, int64_t n_cols, const float* x, int32_t n_tokens, float* y,
                    int64_t y_stride) noexcept;

  /// out[i] = sum over keys of softmax(cap(q[i] . k)) * v, in one pass with a running maximum (online softmax; Milakov
  /// and Gimelshein, arXiv 1805.02867). A row's result does not depend on which rows it is computed with.
  /// @param out  [n_rows, head_dim] f32
  void (*attend)(const AttentionRows& rows, float* out) noexcept;

  /// One group of activations: with m the greatest magnitude and s = x[i] * (127 / m), values[i] is the integer nearest
  /// to s, rest[i] that nearest to 254 * (s - values[i]), ties to even. Every table gives the same. Where m <= 2^-100
  /// all are 0; where something is not finite they are too, and the scale is NaN.
  /// @param x  [n], n a multiple of 4; @param values, rest  [n]; @param sums  [2], of both
  /// @return the scale of the first part, m / 127
  float (*quantize_group)(const float* x, int64_t n, int8_t* values, int8_t* rest, float* sums) noexcept;

  /// gate[i] = gate[i] / (1 + e^-gate[i]) * up[i]
  void (*swiglu)(float* gate, const float* up, int64_t n) noexcept;
  /// gate[i] = gelu(gate[i]) * up[i], gelu(g) = g / (1 + e^-2z) = g / 2 * (1 + tanh z), z = sqrt(2 / pi) (g + 0.044715
  /// g^3)
  void (*geglu)(float* gate, const float* up, int64_t n) noexcept;

  /// Sum of the bytes as 64-bit words: reads memory and does nothing else. @param n_bytes  a multiple of 512
  uint64_t (*read)(const uint8_t* from, int64_t n_bytes) noexcept;
};

namespace reference {
/// Portable and plain: what the other tables are tested against.
extern const KernelTable kTable;
}  // namespace reference

#if defined(__x86_64__)
namespace avx512 {
extern const KernelTable kTable;  ///< F, BW, DQ, VL, VBMI, VNNI
}
namespace avx2 {
extern const KernelTable kTable;  ///< AVX2, FMA, F16C
}
#endif

}  // namespace scalebits
