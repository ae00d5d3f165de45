// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/plan.h"

#include <fmt/format.h>

#include <set>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// Stored weights of a plan, padding included: more than any model has, and few enough that no sum of bytes or bits
/// overflows.
constexpr int64_t kMostWeights = int64_t{1} << 48;

void check_length(const std::string& where, const char* what, const Permutation& perm, int64_t length) {
  if (!perm.empty() && static_cast<int64_t>(perm.size()) != length) {
    fail<FormatError>(where, "{}: got {} entries, expected {} or none", what, perm.size(), length);
  }
  check_permutation(where, what, perm);
}

/// @param owner  the nearest layer before it that has a column order of its own, or nullptr
void check_own_order(const Plan& plan, const LinearPlan& linear, const LinearPlan* owner) {
  const std::string& where = linear.name;
  check_length(where, "row_perm", linear.row_perm, linear.grid.out_features());
  check_length(where, "col_perm", linear.col_perm, linear.grid.in_features());
  if (plan.reorder_mode != "fused" && !(linear.row_perm.empty() && linear.col_perm.empty())) {
    fail<FormatError>(where, "order of its own: got one in reorder mode {}, expected mode fused", plan.reorder_mode);
  }
  if (linear.shares_cols && (owner == nullptr || owner->col_perm.empty() || owner->col_perm != linear.col_perm)) {
    fail<FormatError>(where, "shared col_perm: got another than that of {}, expected the same",
                      owner == nullptr ? "no layer before it" : owner->name);
  }
}

void check_order(const FoldedOrder& order) {
  check_permutation("plan", "order.residual", order.residual);
  for (size_t i = 0; i < order.layers.size(); ++i) {
    const FoldedOrder::Layer& layer = order.layers[i];
    const std::string where = fmt::format("plan, order of layer {}", i);
    check_permutation(where, "mlp", layer.mlp);
    check_permutation(where, "kv_heads", layer.kv_heads);
    for (const Permutation& perm : layer.experts) check_permutation(where, "experts", perm);
    for (const Permutation& perm : layer.value) check_permutation(where, "value", perm);
    for (const Permutation& perm : layer.query_heads) check_permutation(where, "query_heads", perm);
  }
}

}  // namespace

int64_t LinearPlan::bytes() const {
  SCALEBITS_CHECK(static_cast<int64_t>(bits.size()) == grid.n_blocks());
  int64_t total = permutation_bytes(row_perm) + (shares_cols ? 0 : permutation_bytes(col_perm));
  for (size_t block = 0; block < bits.size(); ++block) {
    total += grid.block_bytes(static_cast<int64_t>(block), bits[block]);
  }
  return total;
}

int64_t LinearPlan::code_bits() const {
  SCALEBITS_CHECK(static_cast<int64_t>(bits.size()) == grid.n_blocks());
  int64_t total = 0;
  for (int64_t block = 0; block < grid.n_blocks(); ++block) {
    const int64_t n = grid.rows(block / grid.col_blocks()).count * grid.cols(block % grid.col_blocks()).count;
    total += n * bits[static_cast<size_t>(block)];
  }
  return total;
}

int64_t Plan::n_weights() const {
  int64_t total = 0;
  for (const LinearPlan& linear : linears) total += linear.grid.n_weights();
  return total;
}

int64_t Plan::bytes() const {
  int64_t total = 0;
  for (const LinearPlan& linear : linears) total += linear.bytes();
  return total;
}

double Plan::bpw() const {
  return linears.empty() ? 0.0 : 8.0 * static_cast<double>(bytes()) / static_cast<double>(n_weights());
}

double Plan::code_bits() const {
  double total = 0;
  for (const LinearPlan& linear : linears) total += static_cast<double>(linear.code_bits());
  return linears.empty() ? 0.0 : total / static_cast<double>(n_weights());
}

void check_plan(const Plan& plan) {
  check_order(plan.order);
  for (const auto& [what, bits] : {std::pair{"embed_bits", plan.vocab.embed}, {"head_bits", plan.vocab.head}}) {
    if (!is_vocab_width(bits)) fail<FormatError>("plan", "{}: got {}, expected 2..8 or {}", what, bits, kDenseBits);
  }
  if (plan.reorder_mode != "folded" && plan.reorder_mode != "fused") {
    fail<FormatError>("plan", "reorder_mode: got \"{}\", expected folded or fused", plan.reorder_mode);
  }
  if (plan.tie != "none" && plan.tie != "fused") {
    fail<FormatError>("plan", "tie: got \"{}\", expected none or fused", plan.tie);
  }
  const LinearPlan* owner = nullptr;
  std::set<std::string> names;
  int64_t left = kMostWeights;
  for (const LinearPlan& linear : plan.linears) {
    const std::string& where = linear.name;
    if (!names.insert(linear.name).second) fail<FormatError>(where, "linear layer: got it twice, expected it once");
    if (linear.grid.n_weights() == 0) fail<FormatError>(where, "shape: got an empty matrix, expected weights");
    left -= round_up(linear.grid.out_features(), kTileRows) * round_up(linear.grid.in_features(), kTileCols);
    if (left < 0) {
      fail<FormatError>(where, "shape: got {} x {} beside the layers before it, expected at most {} weights in all",
                        linear.grid.out_features(), linear.grid.in_features(), kMostWeights);
    }
    if (!(linear.grid.spec() == plan.spec)) {
      fail<FormatError>(where, "blocks: got {} x {} with groups of {}, expected the plan's {} x {} with groups of {}",
                        linear.grid.spec().rows, linear.grid.spec().cols, linear.grid.spec().group_size, plan.spec.rows,
                        plan.spec.cols, plan.spec.group_size);
    }
    if (static_cast<int64_t>(linear.bits.size()) != linear.grid.n_blocks()) {
      fail<FormatError>(where, "widths: got {}, expected {} (one for each block)", linear.bits.size(),
                        linear.grid.n_blocks());
    }
    for (size_t block = 0; block < linear.bits.size(); ++block) {
      const int width = linear.bits[block];
      if (width < kMinBits || width > kMaxBits) {
        fail<FormatError>(where, "width of block {}: got {}, expected {}..{}", block, width, kMinBits, kMaxBits);
      }
    }
    check_own_order(plan, linear, owner);
    if (!linear.shares_cols) owner = &linear;
  }
}

}  // namespace scalebits
