// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/io/file.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits {
namespace {

/// @param hidden, hidden_ref [T, d_model] of the two models, for ids[0 .. T)
void score_window(const ModelWeights& model, const ModelWeights& reference, const Window& window,
                  const at::Tensor& hidden, const at::Tensor& hidden_ref, std::span<TokenDivergence> scores) {
  const int64_t step = logit_rows_at_once(model.config().vocab_size);
  const std::span targets = std::span(window.ids).subspan(static_cast<size_t>(window.first_target));
  for (int64_t done = 0; done < window.predicted(); done += step) {
    const int64_t n = std::min(step, window.predicted() - done), row = window.first_target - 1 + done;
    const auto at = static_cast<size_t>(done), count = static_cast<size_t>(n);
    token_divergence(reference.logits(hidden_ref.narrow(0, row, n)), model.logits(hidden.narrow(0, row, n)),
                     targets.subspan(at, count), scores.subspan(at, count));
  }
}

/// Moments of what the model adds to the probability of the text's tokens.
void set_delta_p(std::span<const TokenDivergence> tokens, Divergence& result) {
  double sum = 0, squares = 0, fourths = 0;
  for (const TokenDivergence& t : tokens) {
    const double delta = std::exp(-t.nll) - std::exp(-t.nll_ref), square = delta * delta;
    sum += delta;
    squares += square;
    fourths += square * square;
  }
  const auto n = static_cast<double>(tokens.size());
  result.mean_delta_p = sum / n;
  const double mean_square = squares / n;
  result.rms_delta_p = std::sqrt(mean_square);
  if (n < 2 || mean_square == 0) return;
  const double variance = std::max(0.0, fourths / n - mean_square * mean_square);
  result.rms_delta_p_standard_error = std::sqrt(variance / (n - 1)) / (2 * result.rms_delta_p);
}

std::string tokenizer_hash(const ModelWeights& model) {
  Hasher hasher;
  for (const auto& file : tokenizer_files(model.checkpoint().dir())) hasher.update(MappedFile(file).bytes());
  return hasher.hex();
}

}  // namespace

double percentile(std::span<const double> sorted, double q) {
  SCALEBITS_CHECK(!sorted.empty() && q >= 0 && q <= 1);
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  if (low + 1 == sorted.size()) return sorted[low];
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[low + 1] - sorted[low]);
}

Divergence divergence_of(std::span<const TokenDivergence> tokens) {
  Divergence result;
  std::vector<double> kl, nll, nll_ref;
  double sum = 0, squares = 0;
  int64_t same = 0;
  for (const TokenDivergence& t : tokens) {
    if (!std::isfinite(t.kl)) {
      fail<Error>("kl", "token {}: got {}, expected a finite divergence. Are the weights of both models sound?",
                  kl.size(), t.kl);
    }
    kl.push_back(t.kl);
    nll.push_back(t.nll);
    nll_ref.push_back(t.nll_ref);
    sum += t.kl;
    same += t.same_top ? 1 : 0;
  }
  result.model = perplexity_of(nll);
  result.reference = perplexity_of(nll_ref);
  const auto n = static_cast<double>(tokens.size());
  result.mean = sum / n;
  for (const double x : kl) squares += (x - result.mean) * (x - result.mean);
  if (kl.size() > 1) result.standard_error = std::sqrt(squares / n / (n - 1));
  result.same_top = static_cast<double>(same) / n;
  set_delta_p(tokens, result);
  std::sort(kl.begin(), kl.end());
  result.p90 = percentile(kl, 0.9);
  result.p99 = percentile(kl, 0.99);
  result.p999 = percentile(kl, 0.999);
  result.max = kl.back();
  return result;
}

void check_comparable(const ModelWeights& model, const ModelWeights& reference) {
  const int64_t vocab = model.config().vocab_size, vocab_ref = reference.config().vocab_size;
  if (vocab != vocab_ref) {
    fail<InvalidArgument>("--ref", "vocab_size: got {}, expected {} as in {}. Give the model that it was made from.",
                          vocab_ref, vocab, model.checkpoint().dir().string());
  }
  const std::string hash = tokenizer_hash(model), hash_ref = tokenizer_hash(reference);
  if (hash != hash_ref) {
    fail<InvalidArgument>("--ref",
                          "tokenizer: got one with checksum {}, expected {} as in {}. Give the model that it "
                          "was made from.",
                          hash_ref, hash, model.checkpoint().dir().string());
  }
}

Divergence measure_divergence(const ModelWeights& model, const ModelWeights& reference, const WindowSet& set,
                              Log& log) {
  std::vector<TokenDivergence> scores(static_cast<size_t>(set.predicted));
  size_t offset = 0;
  for_each_window_group(set, "divergence", log, [&](int64_t first, int64_t count) {
    std::vector<std::span<TokenDivergence>> slots;
    for (int64_t i = 0; i < count; ++i) {
      const auto n = static_cast<size_t>(set.windows[static_cast<size_t>(first + i)].predicted());
      slots.push_back(std::span(scores).subspan(offset, n));
      offset += n;
    }
    const std::vector<Sequence> inputs = window_inputs(set, first, count);
    const std::vector<at::Tensor> hidden_ref = reference_hidden(reference, inputs);
    for_each_hidden(model, inputs, [&](int64_t i, const at::Tensor& hidden) {
      const auto k = static_cast<size_t>(i);
      score_window(model, reference, set.windows[static_cast<size_t>(first + i)], hidden, hidden_ref[k], slots[k]);
    });
  });
  return divergence_of(scores);
}

}  // namespace scalebits
