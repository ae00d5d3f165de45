// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/budget.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"

namespace scalebits {

Widths uniform_widths(const QuantizedLayers& layers, int bits) {
  Widths widths;
  for (const auto& item : layers.items) {
    widths.emplace_back(static_cast<size_t>(item.grid.n_blocks()), static_cast<uint8_t>(item.bits_or_fixed(bits)));
  }
  return widths;
}

int64_t order_bytes(const QuantizedLayers& layers) {
  int64_t bytes = 0;
  for (const auto& item : layers.items) bytes += item.order_bytes();
  return bytes;
}

int64_t widths_bytes(const QuantizedLayers& layers, const Widths& widths) {
  int64_t bytes = order_bytes(layers);
  for (size_t i = 0; i < layers.items.size(); ++i) {
    for (size_t b = 0; b < widths[i].size(); ++b) {
      bytes += layers.items[i].grid.block_bytes(static_cast<int64_t>(b), widths[i][b]);
    }
  }
  return bytes;
}

int64_t uniform_bytes(const QuantizedLayers& layers, int bits) {
  int64_t bytes = order_bytes(layers);
  for (const auto& item : layers.items) {
    for (int64_t b = 0; b < item.grid.n_blocks(); ++b) bytes += item.grid.block_bytes(b, item.bits_or_fixed(bits));
  }
  return bytes;
}

int64_t n_weights(const QuantizedLayers& layers) {
  int64_t n = 0;
  for (const auto& item : layers.items) n += item.grid.n_weights();
  return n;
}

ReachableBytes reachable_bytes(const QuantizedLayers& layers) {
  return {uniform_bytes(layers, kMinBits), uniform_bytes(layers, kMaxBits)};
}

void check_reachable(const QuantizedLayers& layers, int64_t budget_bytes, const std::string& what) {
  const ReachableBytes reach = reachable_bytes(layers);
  if (budget_bytes >= reach.least && budget_bytes <= reach.most) return;
  const auto bpw = [&](int64_t bytes) {
    return 8.0 * static_cast<double>(bytes) / static_cast<double>(n_weights(layers));
  };
  const auto fixed = std::count_if(layers.items.begin(), layers.items.end(),
                                   [](const QuantizedLayers::Item& item) { return item.fixed_bits != 0; });
  fail<InvalidArgument>("budget",
                        "{}: got {} bytes ({:.4f} bpw) for the quantized layers, expected {} to {} bytes "
                        "({:.4f} to {:.4f} bpw, scales and all other bytes included).{}",
                        what, budget_bytes, bpw(budget_bytes), reach.least, reach.most, bpw(reach.least),
                        bpw(reach.most),
                        fixed == 0 ? "" : fmt::format(" {} matrices have a fixed width (--tensor-type).", fixed));
}

int64_t bytes_from_bpw(const QuantizedLayers& layers, double target_bpw, const char* flag) {
  const double bytes = target_bpw * static_cast<double>(n_weights(layers)) / 8.0;
  if (!(bytes >= 0.0 && bytes < 9e18)) fail<InvalidArgument>(flag, "got {}, expected a positive number", target_bpw);
  return static_cast<int64_t>(std::floor(bytes));
}

int64_t budget_from_bpw(const QuantizedLayers& layers, double target_bpw) {
  const int64_t budget = bytes_from_bpw(layers, target_bpw, "--target-bpw");
  check_reachable(layers, budget, "--target-bpw " + fmt::format("{}", target_bpw));
  return budget;
}

int floor_bits(const QuantizedLayers& layers, int64_t budget_bytes) {
  int bits = kMinBits;
  while (bits < kMaxBits && uniform_bytes(layers, bits + 1) <= budget_bytes) ++bits;
  return bits;
}

std::vector<BlockRef> all_blocks(const QuantizedLayers& layers) {
  std::vector<BlockRef> blocks;
  for (size_t i = 0; i < layers.items.size(); ++i) {
    for (int64_t b = 0; b < layers.items[i].grid.n_blocks(); ++b) blocks.push_back({i, b});
  }
  return blocks;
}

Widths two_level_widths(const QuantizedLayers& layers, int64_t budget_bytes, const std::vector<BlockRef>& order) {
  const int bits = floor_bits(layers, budget_bytes);
  Widths widths = uniform_widths(layers, bits);
  int64_t left = budget_bytes - uniform_bytes(layers, bits);
  if (bits == kMaxBits) return widths;
  for (const BlockRef& ref : order.empty() ? all_blocks(layers) : order) {
    if (layers.items[ref.item].fixed_bits != 0) continue;
    const BlockGrid& grid = layers.items[ref.item].grid;
    const int64_t cost = grid.block_bytes(ref.block, bits + 1) - grid.block_bytes(ref.block, bits);
    if (cost > left) continue;
    left -= cost;
    ++widths[ref.item][static_cast<size_t>(ref.block)];
  }
  return widths;
}

}  // namespace scalebits
