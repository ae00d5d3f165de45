// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/perplexity.h"

#include <algorithm>
#include <cmath>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/eval/token_scores.h"

namespace scalebits {
namespace {

/// Loading a layer from the page cache costs about as much as using it for 500 tokens on two cores.
constexpr int64_t kGroupTokens = 8192;

/// @param hidden [T, d_model], of ids[0 .. T)
void score_window(const ModelWeights& weights, const Window& window, const at::Tensor& hidden, std::span<double> nll) {
  const int64_t step = logit_rows_at_once(weights.config().vocab_size);
  const std::span targets = std::span(window.ids).subspan(static_cast<size_t>(window.first_target));
  for (int64_t done = 0; done < window.predicted(); done += step) {
    const int64_t n = std::min(step, window.predicted() - done);
    const at::Tensor logits = weights.logits(hidden.narrow(0, window.first_target - 1 + done, n));
    const auto at = static_cast<size_t>(done), count = static_cast<size_t>(n);
    token_nll(logits, targets.subspan(at, count), nll.subspan(at, count));
  }
}

}  // namespace

Perplexity perplexity_of(std::span<const double> nll) {
  Perplexity result;
  result.tokens = static_cast<int64_t>(nll.size());
  double sum = 0, squares = 0;
  for (size_t i = 0; i < nll.size(); ++i) {
    if (!std::isfinite(nll[i])) {
      fail<Error>("perplexity",
                  "token {}: got a negative log-likelihood of {}, expected a finite one. Are the weights "
                  "sound?",
                  i, nll[i]);
    }
    sum += nll[i];
  }
  const auto n = static_cast<double>(nll.size());
  result.nll = sum / n;
  for (const double x : nll) squares += (x - result.nll) * (x - result.nll);
  result.value = std::exp(result.nll);
  if (nll.size() > 1) result.standard_error = result.value * std::sqrt(squares / n / (n - 1));
  return result;
}

void for_each_window_group(const WindowSet& set, const char* what, Log& log,
                           const std::function<void(int64_t, int64_t)>& body) {
  const auto total = static_cast<int64_t>(set.windows.size());
  const int64_t group = round_up(ceil_div(kGroupTokens, set.options.seqlen), num_threads());
  for (int64_t first = 0; first < total; first += group) {
    log.progress(what, first, total);
    body(first, std::min(group, total - first));
  }
  log.progress(what, total, total);
}

std::vector<Sequence> window_inputs(const WindowSet& set, int64_t first, int64_t count) {
  std::vector<Sequence> inputs;
  for (const Window& window : std::span(set.windows).subspan(static_cast<size_t>(first), static_cast<size_t>(count))) {
    inputs.emplace_back(window.ids.begin(), window.ids.end() - 1);
  }
  return inputs;
}

Perplexity measure_perplexity(const ModelWeights& weights, const WindowSet& set, Log& log) {
  std::vector<double> nll(static_cast<size_t>(set.predicted));
  size_t offset = 0;
  for_each_window_group(set, "perplexity", log, [&](int64_t first, int64_t count) {
    std::vector<std::span<double>> slots;
    for (int64_t i = 0; i < count; ++i) {
      const auto n = static_cast<size_t>(set.windows[static_cast<size_t>(first + i)].predicted());
      slots.push_back(std::span(nll).subspan(offset, n));
      offset += n;
    }
    for_each_hidden(weights, window_inputs(set, first, count), [&](int64_t i, const at::Tensor& hidden) {
      score_window(weights, set.windows[static_cast<size_t>(first + i)], hidden, slots[static_cast<size_t>(i)]);
    });
  });
  return perplexity_of(nll);
}

}  // namespace scalebits
