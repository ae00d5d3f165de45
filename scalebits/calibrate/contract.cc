// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/contract.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"

namespace scalebits {
namespace {

/// One row of one block, all pointers [n]. Scores of the row's channels are added to `row` and `col`.
struct RowView {
  const float *w, *g, *f;      ///< weight, gradient, Fisher term
  const float *q, *up, *down;  ///< Q_b, Q_{b+1}, Q_{b-1}; up or down null where there is no such move
  const float* share;          ///< of the squared errors, or null for 1
  int64_t n;
};

void add_row(const RowView& v, double g_scale, double f_scale, BlockSensitivity& b, double* score, double* fisher) {
  BlockSensitivity row;
  for (int64_t c = 0; c < v.n; ++c) {
    const double g = v.g[c], f = v.f[c], e = static_cast<double>(v.q[c]) - v.w[c];
    const double left = v.share == nullptr ? f : f * v.share[c];
    row.restore -= g * e;
    row.err += left * e * e;
    row.fisher += f;
    score[c] = std::abs(g * e) * g_scale;
    fisher[c] = f * f_scale;
    if (v.up != nullptr) {
      const double move = static_cast<double>(v.up[c]) - v.q[c];
      row.up += g * move;
      row.move_up += f * move * move;
      row.err_up += left * (e + move) * (e + move);
    }
    if (v.down != nullptr) {
      const double move = static_cast<double>(v.down[c]) - v.q[c];
      row.down += g * move;
      row.move_down += f * move * move;
      row.err_down += left * (e + move) * (e + move);
    }
  }
  b.up += row.up * g_scale;
  b.down += row.down * g_scale;
  b.restore += row.restore * g_scale;
  b.err += row.err * f_scale;
  b.err_up += row.err_up * f_scale;
  b.err_down += row.err_down * f_scale;
  b.move_up += row.move_up * f_scale;
  b.move_down += row.move_down * f_scale;
  b.fisher += row.fisher * f_scale;
}

/// The columns `cols` of the stored order of a row that is in the model's order.
void gather(const float* row, const Permutation& order, Extent cols, float* out) {
  if (order.empty()) {
    std::copy_n(row + cols.first, cols.count, out);
    return;
  }
  for (int64_t c = 0; c < cols.count; ++c) out[c] = row[order[static_cast<size_t>(cols.first + c)]];
}

void check_finite(const WeightGradient& gradient, const std::string& name) {
  for (size_t i = 0; i < gradient.sum.size(); ++i) {
    if (std::isfinite(gradient.sum[i]) && std::isfinite(gradient.squares[i])) continue;
    const auto index = static_cast<int64_t>(i);
    fail<Error>(name + ".weight", "gradient at [{}, {}]: got {}, expected a finite number. Are the weights sound?",
                index / gradient.in_features, index % gradient.in_features, gradient.sum[i]);
  }
}

}  // namespace

WeightGradient::WeightGradient(Slot of, LinearShape shape)
    : slot(of),
      out_features(shape.out_features),
      in_features(shape.in_features),
      sum(static_cast<size_t>(out_features * in_features)),
      squares(sum.size()) {}

void WeightGradient::add(int64_t first, std::span<const float> g) {
  float *s = sum.data() + first * in_features, *q = squares.data() + first * in_features;
  for (size_t i = 0; i < g.size(); ++i) {
    s[i] += g[i];
    q[i] += g[i] * g[i];
  }
}

LinearSensitivity contract(const QuantizedWeights& weights, size_t item, const WeightGradient& gradient,
                           int64_t positions, std::span<const float> shares) {
  const auto& [rows_order, cols_order] = weights.layers().items[item].order;
  const BlockGrid& grid = weights.layers().items[item].grid;
  check_finite(gradient, weights.layers().items[item].name);
  const at::Tensor w = weights.stored_weight(item);
  const int64_t n_blocks = grid.n_blocks(), width = grid.in_features();
  const double scale = 1.0 / static_cast<double>(positions);  // both terms are means over positions

  LinearSensitivity result;
  result.blocks.resize(static_cast<size_t>(n_blocks));
  // Each block keeps its own partial channel sums; they are added below in block order.
  struct Partial {
    std::vector<double> row_score, row_fisher, col_score, col_fisher;
  };
  std::vector<Partial> partials(static_cast<size_t>(n_blocks));
  parallel_for(n_blocks, [&](int64_t block) {
    const Extent rows = grid.rows(block / grid.col_blocks()), cols = grid.cols(block % grid.col_blocks());
    const auto n = static_cast<size_t>(cols.count), m = static_cast<size_t>(rows.count);
    const int bits = weights.bits(item)[static_cast<size_t>(block)];
    const bool has_up = bits >= kMinBits && bits<kMaxBits, has_down = bits> kMinBits;
    std::vector<float> q(n), up(n), down(n), g(n), f(n);
    std::vector<double> score(n), fisher(n);
    Partial& part = partials[static_cast<size_t>(block)];
    part = {std::vector<double>(m), std::vector<double>(m), std::vector<double>(n), std::vector<double>(n)};
    for (int64_t r = 0; r < rows.count; ++r) {
      weights.quantize_block_row(item, block, bits, w, r, q.data());
      if (has_up) weights.quantize_block_row(item, block, bits + 1, w, r, up.data());
      if (has_down) weights.quantize_block_row(item, block, bits - 1, w, r, down.data());
      const int64_t stored = rows.first + r;
      const int64_t row = rows_order.empty() ? stored : rows_order[static_cast<size_t>(stored)];
      gather(gradient.sum.data() + row * width, cols_order, cols, g.data());
      gather(gradient.squares.data() + row * width, cols_order, cols, f.data());
      add_row({w.data_ptr<float>() + stored * width + cols.first, g.data(), f.data(), q.data(),
               has_up ? up.data() : nullptr, has_down ? down.data() : nullptr,
               shares.empty() ? nullptr : shares.data() + cols.first, cols.count},
              scale, scale, result.blocks[static_cast<size_t>(block)], score.data(), fisher.data());
      for (size_t c = 0; c < n; ++c) {
        part.row_score[static_cast<size_t>(r)] += score[c];
        part.row_fisher[static_cast<size_t>(r)] += fisher[c];
        part.col_score[c] += score[c];
        part.col_fisher[c] += fisher[c];
      }
    }
  });
  result.row_score.resize(static_cast<size_t>(grid.out_features()));
  result.row_fisher.resize(result.row_score.size());
  result.col_score.resize(static_cast<size_t>(width));
  result.col_fisher.resize(result.col_score.size());
  const auto add = [](std::vector<double>& to, int64_t first, const std::vector<double>& from) {
    for (size_t i = 0; i < from.size(); ++i) to[static_cast<size_t>(first) + i] += from[i];
  };
  for (int64_t block = 0; block < n_blocks; ++block) {
    const Partial& part = partials[static_cast<size_t>(block)];
    const int64_t row = grid.rows(block / grid.col_blocks()).first, col = grid.cols(block % grid.col_blocks()).first;
    add(result.row_score, row, part.row_score);
    add(result.row_fisher, row, part.row_fisher);
    add(result.col_score, col, part.col_score);
    add(result.col_fisher, col, part.col_fisher);
  }
  return result;
}

}  // namespace scalebits
