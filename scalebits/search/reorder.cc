// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/reorder.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

using Scores = std::vector<double>;

Permutation by_falling_score(std::span<const double> scores) {
  Permutation perm(scores.size());
  std::iota(perm.begin(), perm.end(), 0);
  std::stable_sort(perm.begin(), perm.end(), [&](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return perm;
}

/// Gathers the channel scores of one axis from the matrices that share it.
class ScoreSource {
 public:
  ScoreSource(const QuantizedWeights& weights, const PassResult& result, Reorder reorder, ChannelScore kind)
      : weights_(weights), result_(result), reorder_(reorder), kind_(kind) {}

  void add_rows(int64_t layer, Slot slot, Scores& to) const { add(layer, slot, true, to); }
  void add_cols(int64_t layer, Slot slot, Scores& to) const { add(layer, slot, false, to); }

 private:
  void add(int64_t layer, Slot slot, bool rows, Scores& to) const {
    if (reorder_ == (rows ? Reorder::kCols : Reorder::kRows)) return;
    const int64_t item = weights_.item_of(layer, slot);
    if (item < 0) return;  // not quantized: it does not mind
    const LinearSensitivity& s = result_.linears[static_cast<size_t>(item)];
    const bool fisher = kind_ == ChannelScore::kFisher;
    const Scores& from = rows ? (fisher ? s.row_fisher : s.row_score) : (fisher ? s.col_fisher : s.col_score);
    SCALEBITS_CHECK(from.size() == to.size());
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  }

  const QuantizedWeights& weights_;
  const PassResult& result_;
  Reorder reorder_;
  ChannelScore kind_;
};

FoldedOrder::Layer order_layer(const ModelConfig& c, const ScoreSource& source, int64_t l) {
  const auto size = [](int64_t n) { return Scores(static_cast<size_t>(n)); };
  FoldedOrder::Layer order;
  for (int64_t e = 0; e < n_experts(c, l); ++e) {
    Scores mlp = size(linear_shape(c, l, {Proj::kGate, e}).out_features);
    source.add_rows(l, {Proj::kGate, e}, mlp);
    source.add_rows(l, {Proj::kUp, e}, mlp);
    source.add_cols(l, {Proj::kDown, e}, mlp);
    if (c.has_experts(l)) {
      order.experts.push_back(by_falling_score(mlp));
    } else {
      order.mlp = by_falling_score(mlp);
    }
  }

  Scores q = size(c.n_heads * c.head_dim), o = q, k = size(c.n_kv_heads * c.head_dim), v = k;
  source.add_rows(l, Proj::kQ, q);
  source.add_cols(l, Proj::kO, o);
  source.add_rows(l, Proj::kK, k);
  source.add_rows(l, Proj::kV, v);
  const int64_t group = c.n_heads / c.n_kv_heads;
  Scores of_group = size(c.n_kv_heads);
  for (int64_t g = 0; g < c.n_kv_heads; ++g) {
    Scores channel = size(c.head_dim), of_head = size(group);
    for (int64_t d = 0; d < c.head_dim; ++d) {
      const auto kv = static_cast<size_t>(g * c.head_dim + d);
      channel[static_cast<size_t>(d)] += v[kv];
      of_group[static_cast<size_t>(g)] += k[kv] + v[kv];
      for (int64_t j = 0; j < group; ++j) {
        const auto h = static_cast<size_t>((g * group + j) * c.head_dim + d);
        channel[static_cast<size_t>(d)] += o[h];
        of_head[static_cast<size_t>(j)] += q[h] + o[h];
        of_group[static_cast<size_t>(g)] += q[h] + o[h];
      }
    }
    order.value.push_back(by_falling_score(channel));
    order.query_heads.push_back(by_falling_score(of_head));
  }
  order.kv_heads = by_falling_score(of_group);
  return order;
}

}  // namespace

Reorder parse_reorder(std::string_view name) {
  if (name == "none") return Reorder::kNone;
  if (name == "rows") return Reorder::kRows;
  if (name == "cols") return Reorder::kCols;
  if (name == "both") return Reorder::kBoth;
  fail<InvalidArgument>("--reorder", "got \"{}\", expected none, rows, cols or both", name);
}

ReorderMode parse_reorder_mode(std::string_view name) {
  if (name == "folded") return ReorderMode::kFolded;
  if (name == "fused") return ReorderMode::kFused;
  fail<InvalidArgument>("--reorder-mode", "got \"{}\", expected folded or fused", name);
}

bool parse_tie(std::string_view name) {
  if (name == "none") return false;
  if (name == "fused") return true;
  fail<InvalidArgument>("--tie", "got \"{}\", expected none or fused", name);
}

FusedOrder fused_order_by_score(const QuantizedLayers& layers, const PassResult& result, ChannelScore kind) {
  const bool fisher = kind == ChannelScore::kFisher;
  FusedOrder orders(layers.items.size());
  for (size_t i = 0; i < orders.size(); ++i) {
    const LinearSensitivity& s = result.linears[i];
    if (!layers.items[i].order.rows.empty()) orders[i].rows = by_falling_score(fisher ? s.row_fisher : s.row_score);
    if (layers.items[i].order.cols.empty() || layers.items[i].shares_cols) continue;
    Scores cols = fisher ? s.col_fisher : s.col_score;
    size_t end = i + 1;
    for (; end < orders.size() && layers.items[end].shares_cols; ++end) {
      const LinearSensitivity& other = result.linears[end];
      const Scores& more = fisher ? other.col_fisher : other.col_score;
      std::transform(cols.begin(), cols.end(), more.begin(), cols.begin(), std::plus<>());
    }
    const Permutation sorted = by_falling_score(cols);
    for (size_t sharing = i; sharing < end; ++sharing) orders[sharing].cols = sorted;
  }
  return orders;
}

FoldedOrder folded_order_by_score(const QuantizedWeights& weights, const PassResult& result, Reorder reorder,
                                  ChannelScore kind) {
  FoldedOrder order;
  if (reorder == Reorder::kNone) return order;
  const ModelConfig& c = weights.config();
  const ScoreSource source(weights, result, reorder, kind);
  Scores residual(static_cast<size_t>(c.d_model));
  for (int64_t l = 0; l < c.n_layers; ++l) {
    for (const Slot slot : slots(c, l)) {
      const bool writes = slot.proj() == Proj::kO || slot.proj() == Proj::kDown;  // to the residual stream
      if (!writes) source.add_cols(l, slot, residual);
    }
    for (const Slot slot : slots(c, l)) {
      if (slot.proj() == Proj::kO || slot.proj() == Proj::kDown) source.add_rows(l, slot, residual);
    }
    order.layers.push_back(order_layer(c, source, l));
  }
  order.residual = by_falling_score(residual);
  return order;
}

}  // namespace scalebits
