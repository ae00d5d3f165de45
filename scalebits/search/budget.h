// SPDX-License-Identifier: Apache-2.0
/// The byte account of a search: every byte of the quantized layers at given widths.
#pragma once

#include <vector>

#include "scalebits/calibrate/quantized_weights.h"

namespace scalebits {

using Widths = std::vector<std::vector<uint8_t>>;  ///< [item][block]

/// Every free block at `bits`, the others at their fixed width.
Widths uniform_widths(const QuantizedLayers& layers, int bits);

/// Bytes of all quantized layers at these widths, everything included.
int64_t widths_bytes(const QuantizedLayers& layers, const Widths& widths);
/// Of these, the permutations, which no width changes.
int64_t order_bytes(const QuantizedLayers& layers);
int64_t uniform_bytes(const QuantizedLayers& layers, int bits);
int64_t n_weights(const QuantizedLayers& layers);

/// What can be reached at all: every free block at 1 bit, every free block at 8.
struct ReachableBytes {
  int64_t least = 0, most = 0;
};
ReachableBytes reachable_bytes(const QuantizedLayers& layers);

/// Bytes for a target in bits per weight, rounded down. @throws InvalidArgument naming the flag
int64_t bytes_from_bpw(const QuantizedLayers& layers, double target_bpw, const char* flag);
/// The same. @throws InvalidArgument, naming both ends, outside the reachable interval
int64_t budget_from_bpw(const QuantizedLayers& layers, double target_bpw);
/// @param what, @param target as the user gave them, for the message
void check_reachable(const QuantizedLayers& layers, int64_t budget_bytes, const std::string& what);

/// Widest uniform width of the free blocks within the budget.
int floor_bits(const QuantizedLayers& layers, int64_t budget_bytes);

/// One more bit for free blocks in the given order while the budget lasts; each starts at floor_bits.
/// @param order indices of (item, block), or empty for model order
struct BlockRef {
  size_t item = 0;
  int64_t block = 0;
};
Widths two_level_widths(const QuantizedLayers& layers, int64_t budget_bytes, const std::vector<BlockRef>& order);
std::vector<BlockRef> all_blocks(const QuantizedLayers& layers);

}  // namespace scalebits
