// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/token_scores.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// exp(logits - top) of each row, its sum, and where the largest logit is.
struct Softmax {
  at::Tensor exps;           // [n, vocab] f32
  std::vector<double> sums;  // [n]
  std::vector<float> top;
  std::vector<int64_t> top_id;

  explicit Softmax(const at::Tensor& logits) {
    SCALEBITS_CHECK(logits.dim() == 2 && logits.scalar_type() == at::kFloat && logits.is_contiguous());
    const int64_t n = logits.size(0), vocab = logits.size(1);
    for (int64_t i = 0; i < n; ++i) {
      const float* row = logits.data_ptr<float>() + i * vocab;
      const float* best = std::max_element(row, row + vocab);  // the first of equals
      top.push_back(*best);
      top_id.push_back(best - row);
    }
    exps = (logits - at::from_blob(top.data(), {n, 1}, at::kFloat)).exp_();
    const at::Tensor total = exps.sum(-1, /*keepdim=*/false, at::kDouble);
    sums.assign(total.data_ptr<double>(), total.data_ptr<double>() + n);
  }

  /// log of the sum of exp(logits)
  [[nodiscard]] double log_partition(size_t i) const { return std::log(sums[i]) + static_cast<double>(top[i]); }
};

double logit(const at::Tensor& logits, size_t row, int64_t id) {
  SCALEBITS_CHECK(id >= 0 && id < logits.size(1));
  return logits.data_ptr<float>()[static_cast<int64_t>(row) * logits.size(1) + id];
}

}  // namespace

void token_nll(const at::Tensor& logits, std::span<const int32_t> targets, std::span<double> out) {
  const Softmax softmax(logits);
  SCALEBITS_CHECK(targets.size() == softmax.sums.size() && out.size() == targets.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = softmax.log_partition(i) - logit(logits, i, targets[i]);
}

void score_targets(const at::Tensor& logits, std::span<const RowTarget> targets, std::span<TokenScore> out) {
  const Softmax softmax(logits);
  SCALEBITS_CHECK(out.size() == targets.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const auto row = static_cast<size_t>(targets[i].row);
    SCALEBITS_CHECK(row < softmax.sums.size());
    out[i].nll = softmax.log_partition(row) - logit(logits, row, targets[i].id);
    out[i].top = softmax.top_id[row] == targets[i].id;
  }
}

void token_divergence(const at::Tensor& ref, const at::Tensor& model, std::span<const int32_t> targets,
                      std::span<TokenDivergence> out) {
  const Softmax p(ref), q(model);
  SCALEBITS_CHECK(ref.sizes() == model.sizes() && targets.size() == p.sums.size() && out.size() == targets.size());
  // KL = sum p (ref - model) - log Z_ref + log Z_model: no difference of logarithms is formed per entry.
  const at::Tensor weighted = (ref - model).mul_(p.exps).sum(-1, /*keepdim=*/false, at::kDouble);
  for (size_t i = 0; i < out.size(); ++i) {
    const double z_ref = p.log_partition(i), z = q.log_partition(i);
    out[i].kl = weighted.data_ptr<double>()[i] / p.sums[i] - z_ref + z;
    out[i].nll_ref = z_ref - logit(ref, i, targets[i]);
    out[i].nll = z - logit(model, i, targets[i]);
    out[i].same_top = p.top_id[i] == q.top_id[i];
  }
}

int64_t logit_rows_at_once(int64_t vocab_size) { return std::clamp<int64_t>((int64_t{1} << 22) / vocab_size, 16, 512); }

}  // namespace scalebits
