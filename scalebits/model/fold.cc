// SPDX-License-Identifier: Apache-2.0
#include "scalebits/model/fold.h"

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

Permutation or_identity(const Permutation& perm, int64_t n) { return perm.empty() ? identity_permutation(n) : perm; }

bool keeps_heads(const FoldedOrder::Layer& l) { return l.kv_heads.empty() && l.query_heads.empty(); }

/// Order inside KV head `g` (old index) of `list`, or identity.
Permutation inner_order(const std::vector<Permutation>& list, int64_t g, int64_t n) {
  return list.empty() ? identity_permutation(n) : or_identity(list[static_cast<size_t>(g)], n);
}

/// Channels of all KV heads in the new order; `inside` permutes the channels of a head as well (v, not k).
Permutation kv_channels(const ModelConfig& c, const FoldedOrder::Layer& l, bool inside) {
  Permutation channels;
  for (const int32_t g : or_identity(l.kv_heads, c.n_kv_heads)) {
    for (const int32_t d : inside ? inner_order(l.value, g, c.head_dim) : identity_permutation(c.head_dim)) {
      channels.push_back(static_cast<int32_t>(g * c.head_dim + d));
    }
  }
  return channels;
}

/// Channels of all query heads in the new order; `inside` as above (columns of o, not rows of q).
Permutation query_channels(const ModelConfig& c, const FoldedOrder::Layer& l, bool inside) {
  const int64_t group = c.n_heads / c.n_kv_heads;
  Permutation channels;
  for (const int32_t g : or_identity(l.kv_heads, c.n_kv_heads)) {
    const Permutation within = inside ? inner_order(l.value, g, c.head_dim) : identity_permutation(c.head_dim);
    for (const int32_t j : inner_order(l.query_heads, g, group)) {
      for (const int32_t d : within) channels.push_back(static_cast<int32_t>((g * group + j) * c.head_dim + d));
    }
  }
  return channels;
}

/// Inner channels of a dense MLP or of an expert.
Permutation mlp_channels(const ModelConfig& c, const FoldedOrder::Layer& l, int64_t layer, Slot slot) {
  if (!c.has_experts(layer)) return l.mlp;
  return l.experts.empty() ? Permutation{} : l.experts[static_cast<size_t>(slot.expert())];
}

void check_part(const Permutation& perm, int64_t n, const char* part, int64_t layer) {
  if (!perm.empty() && !is_permutation_of(perm, n)) {
    fail<FormatError>("plan",
                      "{} order of layer {}: got {} entries that are no permutation, expected each of 0..{} once", part,
                      layer, perm.size(), n - 1);
  }
}

}  // namespace

RowColOrder folded_order(const ModelConfig& c, const FoldedOrder& order, int64_t layer, Slot slot) {
  static const FoldedOrder::Layer kNone;
  const FoldedOrder::Layer& l = order.layers.empty() ? kNone : order.layers[static_cast<size_t>(layer)];
  const bool heads = !keeps_heads(l), value = heads || !l.value.empty();
  switch (slot.proj()) {
    case Proj::kQ:
      return {heads ? query_channels(c, l, false) : Permutation{}, order.residual};
    case Proj::kK:
      return {heads ? kv_channels(c, l, false) : Permutation{}, order.residual};
    case Proj::kV:
      return {value ? kv_channels(c, l, true) : Permutation{}, order.residual};
    case Proj::kO:
      return {order.residual, value ? query_channels(c, l, true) : Permutation{}};
    case Proj::kGate:
    case Proj::kUp:
      return {mlp_channels(c, l, layer, slot), order.residual};
    case Proj::kDown:
      return {order.residual, mlp_channels(c, l, layer, slot)};
  }
  check_failed(__FILE__, __LINE__, "known projection");
}

void check_folded_order(const ModelConfig& c, const FoldedOrder& order) {
  check_part(order.residual, c.d_model, "residual", -1);
  if (!order.layers.empty() && static_cast<int64_t>(order.layers.size()) != c.n_layers) {
    fail<FormatError>("plan", "orders: got {} layers, expected {}", order.layers.size(), c.n_layers);
  }
  for (size_t i = 0; i < order.layers.size(); ++i) {
    const FoldedOrder::Layer& l = order.layers[i];
    const auto index = static_cast<int64_t>(i);
    if (c.has_experts(index) ? !l.mlp.empty() : !l.experts.empty()) {
      fail<FormatError>("plan", "orders of layer {}: got one of {}, expected none: this layer's MLP is {}", i,
                        l.mlp.empty() ? "experts" : "a dense MLP", l.mlp.empty() ? "dense" : "a mixture of experts");
    }
    check_part(l.mlp, c.d_ff, "mlp", index);
    if (!l.experts.empty() && static_cast<int64_t>(l.experts.size()) != c.experts.n_experts) {
      fail<FormatError>("plan", "orders of layer {}: got {} experts, expected {}", i, l.experts.size(),
                        c.experts.n_experts);
    }
    for (const Permutation& perm : l.experts) check_part(perm, c.experts.d_ff, "expert", index);
    check_part(l.kv_heads, c.n_kv_heads, "KV head", index);
    for (const auto* list : {&l.value, &l.query_heads}) {
      if (!list->empty() && static_cast<int64_t>(list->size()) != c.n_kv_heads) {
        fail<FormatError>("plan", "orders of layer {}: got {} heads, expected {}", i, list->size(), c.n_kv_heads);
      }
      for (const Permutation& perm : *list) {
        check_part(perm, list == &l.value ? c.head_dim : c.n_heads / c.n_kv_heads, "head", index);
      }
    }
  }
}

bool is_permutation_of(const Permutation& perm, int64_t n) {
  if (static_cast<int64_t>(perm.size()) != n) return false;
  std::vector<bool> seen(perm.size(), false);
  for (const int32_t i : perm) {
    if (i < 0 || i >= n || seen[static_cast<size_t>(i)]) return false;
    seen[static_cast<size_t>(i)] = true;
  }
  return true;
}

Permutation inverse(const Permutation& perm) {
  Permutation result(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) result[static_cast<size_t>(perm[i])] = static_cast<int32_t>(i);
  return result;
}

Permutation compose(const Permutation& inner, const Permutation& outer) {
  if (inner.empty()) return outer;
  if (outer.empty()) return inner;
  Permutation result(outer.size());
  for (size_t i = 0; i < outer.size(); ++i) result[i] = inner[static_cast<size_t>(outer[i])];
  return result;
}

at::Tensor permute_dim(const at::Tensor& x, int64_t dim, const Permutation& perm) {
  if (perm.empty()) return x;
  SCALEBITS_CHECK(x.size(dim) == static_cast<int64_t>(perm.size()));
  const at::Tensor index =
      at::from_blob(const_cast<int32_t*>(perm.data()), {static_cast<int64_t>(perm.size())}, at::kInt);
  return at::index_select(x, dim, index.to(at::kLong));
}

at::Tensor in_order(const at::Tensor& matrix, const RowColOrder& order) {
  return permute_dim(permute_dim(matrix, 1, order.cols), 0, order.rows);
}

at::Tensor undo_order(const at::Tensor& matrix, const RowColOrder& order) {
  return permute_dim(permute_dim(matrix, 1, inverse(order.cols)), 0, inverse(order.rows));
}

}  // namespace scalebits
