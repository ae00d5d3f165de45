// SPDX-License-Identifier: Apache-2.0
/// Products with packed matrices: typed views in, threads and choice of instruction set inside.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "scalebits/format/packed.h"
#include "scalebits/kernels/kernels.h"

namespace scalebits {

/// Names of the tables that this machine can run, best first.
std::vector<std::string_view> available_kernels();
/// The table called `name`; "" is the best one.
/// @throws DeviceError listing the available ones when there is no such table or this machine cannot run it
const KernelTable& select_kernels(std::string_view name);
/// The table that the functions below use: the one named by the environment variable SCALEBITS_ISA, else the best.
/// Looked up once. @throws DeviceError as select_kernels
const KernelTable& active_kernels();

/// What the kernels take, over the memory of a view that check_packed accepted. Must not outlive either argument.
PackedPanels packed_panels(const PackedView& view, const PanelOffsets& panels);

/// Bounds of `n_parts` runs of whole panels with nearly equal bytes: part i is panels [result[i], result[i + 1]), maybe
/// empty. By bytes, not rows, because reordering makes the top panels heavy.
std::vector<int64_t> split_panels(const PanelOffsets& panels, int64_t n_parts);

/// Rows and columns that are stored in an order of their own (reorder mode `fused`): the stored row r is row rows[r] of
/// the matrix, the stored column c is column cols[c]. Empty = as stored. The caller has checked them, and keeps them.
struct PackedOrder {
  std::span<const int32_t> rows, cols;
};

/// y[t, r] = sum over c of x[t, c] * w[r, c], weights decoded on the fly; the order of summation and the error bound
/// are stated at KernelTable::gemv. Results do not depend on the number of threads.
///
/// @param x  [n_tokens, in_features] f32, contiguous
/// @param y  [n_tokens, out_features] f32, contiguous, overwritten
/// @param n_tokens  1..kMaxGemvTokens
/// @param order  x is gathered by its columns once a call; a panel's results go to their rows while they are in cache.
///               Sums are taken in stored order, so results are those of the stored matrix on the gathered x, bit for
///               bit
/// Sizes are checked by the caller; here they are invariants.
void gemv_packed(const PackedView& w, const PanelOffsets& panels, std::span<const float> x, int64_t n_tokens,
                 std::span<float> y, const PackedOrder& order = {});

/// The same product for any number of tokens: each panel is decoded once to f32 and multiplied by all tokens.
/// Order of summation: lane l of 16 adds the columns c = l modulo 16 from left to right, then the lanes are added in
/// order; so the bound of KernelTable::gemv holds here too (with 16 more roundings: n = in_features + 16).
/// Scratch memory: 4 * block_rows * in_features bytes for each thread.
void gemm_packed(const PackedView& w, const PanelOffsets& panels, std::span<const float> x, int64_t n_tokens,
                 std::span<float> y, const PackedOrder& order = {});

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
