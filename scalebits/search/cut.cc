// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/cut.h"

#include <algorithm>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// A block on the way from one point to the next.
struct Block {
  LinearPlan* linear = nullptr;
  size_t index = 0;
  int rank = 0;
  uint8_t towards = 0;  ///< width in the upper point

  [[nodiscard]] uint8_t& bits() const { return linear->bits[index]; }
  /// Bytes that `width` would take more than the present one.
  [[nodiscard]] int64_t growth(int width) const {
    const auto block = static_cast<int64_t>(index);
    return linear->grid.block_bytes(block, width) - linear->grid.block_bytes(block, bits());
  }
};

class Cut {
 public:
  Cut(const Frontier& frontier, size_t lower, int64_t budget)
      : plan_(frontier.plan), budget_(budget), left_(budget - frontier.points[lower].bytes) {
    const FrontierPoint &from = frontier.points[lower], &to = frontier.points[lower + 1];
    for (size_t i = 0; i < plan_.linears.size(); ++i) {
      plan_.linears[i].bits = from.widths[i];
      if (frontier.fixed[i]) continue;
      for (size_t b = 0; b < from.widths[i].size(); ++b) {
        const Block block{&plan_.linears[i], b, to.rank[i][b], to.widths[i][b]};
        (block.towards > block.bits() ? ups_ : block.towards < block.bits() ? downs_ : others_).push_back(block);
      }
    }
    for (auto* moves : {&ups_, &downs_}) {
      std::stable_sort(moves->begin(), moves->end(), [](const Block& a, const Block& b) { return a.rank > b.rank; });
    }
    free_by_moves_down(static_cast<double>(left_) / static_cast<double>(to.bytes - from.bytes));
  }

  Plan plan() {
    for (const Block& block : ups_) take_if_it_fits(block, block.towards);
    ups_.insert(ups_.end(), downs_.begin(), downs_.end());
    ups_.insert(ups_.end(), others_.begin(), others_.end());
    bool grown = true;
    while (grown && left_ > budget_ / 200) {
      grown = false;
      for (const Block& block : ups_) grown |= block.bits() < kMaxBits && take_if_it_fits(block, block.bits() + 1);
    }
    return std::move(plan_);
  }

 private:
  void free_by_moves_down(double share) {
    int64_t all = 0, freed = 0;
    for (const Block& block : downs_) all -= block.growth(block.towards);
    for (const Block& block : downs_) {
      const int64_t more = -block.growth(block.towards);
      if (static_cast<double>(freed + more) > share * static_cast<double>(all)) break;
      freed += more;
      take_if_it_fits(block, block.towards);
    }
  }

  bool take_if_it_fits(const Block& block, int width) {
    const int64_t growth = block.growth(width);
    if (growth > left_) return false;
    left_ -= growth;
    block.bits() = static_cast<uint8_t>(width);
    return true;
  }

  Plan plan_;
  int64_t budget_, left_;
  std::vector<Block> ups_, downs_, others_;
};

}  // namespace

Plan cut_frontier(const Frontier& frontier, int64_t budget_bytes, const std::string& what) {
  const auto& points = frontier.points;
  if (budget_bytes < points.front().bytes || budget_bytes > points.back().budget_bytes) {
    fail<InvalidArgument>(what,
                          "got {} bytes ({:.4f} bpw), expected {} to {} bytes ({:.4f} to {:.4f} bpw): from the first "
                          "to the last budget of the frontier.",
                          budget_bytes, frontier.bpw(budget_bytes), points.front().bytes, points.back().budget_bytes,
                          frontier.bpw(points.front().bytes), frontier.bpw(points.back().budget_bytes));
  }
  size_t lower = points.size() - 1;
  while (points[lower].bytes > budget_bytes) --lower;
  Plan plan = frontier.plan;
  if (budget_bytes > points[lower].budget_bytes) {
    plan = Cut(frontier, lower, budget_bytes).plan();
  } else {
    for (size_t i = 0; i < plan.linears.size(); ++i) plan.linears[i].bits = points[lower].widths[i];
  }
  SCALEBITS_CHECK(plan.bytes() <= budget_bytes);
  return plan;
}

}  // namespace scalebits
