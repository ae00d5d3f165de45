// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/objective.h"

#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "scalebits/model/gemm.h"

namespace scalebits {
namespace {

/// Rows of logits held at once: about 16 MB of f32 each for the model and the reference.
int64_t rows_at_once(int64_t vocab) { return std::clamp<int64_t>((int64_t{1} << 22) / vocab, 16, 512); }

/// Summed -log softmax(logits)[target] of n rows; `dlogits` becomes softmax - onehot.
double cross_entropy(const at::Tensor& logits, const at::Tensor& targets, at::Tensor* dlogits) {
  const at::Tensor logp = at::log_softmax(logits, -1);
  const at::Tensor column = targets.unsqueeze(1);
  const double nats = -at::gather(logp, 1, column).sum(at::kDouble).item<double>();
  if (dlogits != nullptr) *dlogits = logp.exp().scatter_add_(1, column, at::full({targets.size(0), 1}, -1.0F));
  return nats;
}

/// One token of each row's own distribution, by inversion.
at::Tensor draw(const at::Tensor& logits, Rng& rng) {
  const at::Tensor cumulative = at::softmax(logits, -1).cumsum(-1, at::kDouble);
  at::Tensor u = at::empty({logits.size(0), 1}, at::kDouble);
  for (int64_t i = 0; i < u.size(0); ++i) u.data_ptr<double>()[i] = rng.uniform();
  u.mul_(cumulative.select(1, -1).unsqueeze(1));  // rounding may leave the last sum beside 1
  return at::searchsorted(cumulative, u, /*out_int32=*/false, /*right=*/true).squeeze(1).clamp_max(logits.size(1) - 1);
}

at::Tensor as_targets(std::span<const TokenId> ids) {
  at::Tensor targets = at::empty({static_cast<int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), targets.data_ptr<int64_t>());
  return targets;
}

}  // namespace

LossKind parse_loss(std::string_view name) {
  if (name == "kl") return LossKind::kKl;
  if (name == "ce") return LossKind::kCe;
  fail<InvalidArgument>("--loss", "got \"{}\", expected kl or ce", name);
}

double kl_divergence(const at::Tensor& ref, const at::Tensor& q, at::Tensor* dq) {
  const at::Tensor log_ref = at::log_softmax(ref, -1), log_q = at::log_softmax(q, -1);
  const at::Tensor p = log_ref.exp();
  const double nats = (p * (log_ref - log_q)).sum(at::kDouble).item<double>();
  if (dq != nullptr) *dq = log_q.exp() - p;
  return nats;
}

SequenceLoss sequence_loss(LossKind kind, const ModelWeights& weights, const at::Tensor& hidden,
                           const at::Tensor& reference, std::span<const TokenId> ids, at::Tensor* dhidden,
                           uint64_t sample_seed) {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<int64_t>(ids.size());
  SCALEBITS_CHECK(hidden.dim() == 2 && hidden.size(0) == length);
  const int64_t positions = kind == LossKind::kCe ? length - 1 : length;
  const int64_t step = rows_at_once(weights.config().vocab_size);
  if (dhidden != nullptr) *dhidden = at::zeros_like(hidden);
  Rng rng(sample_seed);
  SequenceLoss loss{0.0, positions};
  for (int64_t first = 0; first < positions; first += step) {
    const int64_t n = std::min(step, positions - first);
    const at::Tensor logits = weights.logits(hidden.narrow(0, first, n));
    at::Tensor dlogits;
    at::Tensor* want = dhidden != nullptr ? &dlogits : nullptr;
    if (kind == LossKind::kKl) {
      loss.nats += kl_divergence(weights.reference_logits(reference.narrow(0, first, n)), logits, want);
    } else {
      const at::Tensor targets = kind == LossKind::kSampled
                                     ? draw(logits, rng)
                                     : as_targets(ids.subspan(static_cast<size_t>(first + 1), static_cast<size_t>(n)));
      loss.nats += cross_entropy(logits, targets, want);
    }
    if (dhidden != nullptr) {
      // d cap * tanh(u / cap) = 1 - (its value / cap)^2
      if (const double cap = weights.config().logit_cap; cap > 0) dlogits.mul_(1 - (logits / cap).square());
      dhidden->narrow(0, first, n).copy_(matmul_nn(dlogits.to(weights.dtype()), weights.head()));
    }
  }
  return loss;
}

}  // namespace scalebits
