// SPDX-License-Identifier: Apache-2.0
/// Products with packed matrices: typed views in, threads and the choice of kernels inside. Sizes are checked by the
/// caller; here they are invariants. Results do not depend on the number of threads.
#pragma once

#include "scalebits/kernels/dispatch.h"
#include "scalebits/kernels/int8_activations.h"

namespace scalebits {

/// Rows and columns that are stored in an order of their own (reorder mode `fused`): the stored row r is row rows[r] of
/// the matrix, the stored column c is column cols[c]. Empty = as stored. The caller has checked them, and keeps them.
struct PackedOrder {
  std::span<const int32_t> rows, cols;
};

/// y[t, r] = sum over c of x[t, c] * w[r, c], weights decoded on the fly; the order of summation and the error bound
/// are stated at KernelTable::gemv.
///
/// @param x  [n_tokens, in_features] f32, contiguous
/// @param y  [n_tokens, out_features] f32, contiguous, overwritten
/// @param n_tokens  1..kMaxGemvTokens
/// @param order  x is gathered by its columns once a call; a panel's results go to their rows while they are in cache.
///               Sums are taken in stored order, so results are those of the stored matrix on the gathered x, bit for
///               bit
void gemv_packed(const PackedView& w, const PanelOffsets& panels, std::span<const float> x, int64_t n_tokens,
                 std::span<float> y, const PackedOrder& order = {});

/// One of several products that are computed together.
struct Int8Product {
  const PackedView* w;
  const PanelOffsets* panels;
  const Int8Activations* x;       ///< in the stored order of columns
  std::span<float> y;             ///< [n_tokens, out_features] f32, overwritten
  std::span<const int32_t> rows;  ///< as in PackedOrder
};

/// All products as one parallel region, any number of tokens each (KernelTable::gemm_int8 defines the result): work is
/// cut by bytes, not by rows, because reordering makes the top panels heavy.
/// Scratch memory: 4 * n_tokens * block_rows bytes for each thread, kept.
void multiply_int8(std::span<const Int8Product> products);

/// The exact weights.
/// @param out  [out_features, in_features] f32, row-major, every weight at its own row and column
void decode_packed(const PackedView& w, const PanelOffsets& panels, std::span<float> out,
                   const PackedOrder& order = {});

/// The exact weights of single rows, as many and in whatever order they are asked for (the lookup in an embedding). A
/// panel is decoded once for all of its rows, and no other panel is touched.
/// @param rows  each in 0..out_features - 1
/// @param out   [rows.size(), in_features] f32, row-major
/// Scratch memory: 4 * block_rows * in_features bytes for each thread.
void decode_rows(const PackedView& w, const PanelOffsets& panels, std::span<const int32_t> rows, std::span<float> out);

}  // namespace scalebits
