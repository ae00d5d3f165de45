// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

size_t kept_by_top_p(std::span<const double> p, double top_p) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    sum += p[i];
    if (sum >= top_p) return i + 1;
  }
  return p.size();
}

size_t kept_by_min_p(std::span<const double> p, double min_p) {
  size_t kept = 1;
  while (kept < p.size() && p[kept] >= min_p * p[0]) ++kept;
  return kept;
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options), rng_(options.seed) {
  const auto expect = [](bool fits, const char* option, double value, const char* range) {
    if (!fits) fail<InvalidArgument>(option, "got {}, expected {}.", value, range);
  };
  const SamplerOptions& o = options_;
  expect(std::isfinite(o.temperature) && o.temperature >= 0, "--temperature", o.temperature, "0 or more");
  expect(o.top_k >= 0, "--top-k", static_cast<double>(o.top_k), "0 (off) or more");
  expect(o.top_p > 0 && o.top_p <= 1, "--top-p", o.top_p, "a share in (0, 1]");
  expect(o.min_p >= 0 && o.min_p <= 1, "--min-p", o.min_p, "a share in [0, 1]");
  expect(std::isfinite(o.repeat_penalty) && o.repeat_penalty > 0, "--repeat-penalty", o.repeat_penalty, "more than 0");
}

void Sampler::mark(std::span<const TokenId> context, bool seen) {
  for (const TokenId id : context) {
    if (id >= 0 && static_cast<size_t>(id) < seen_.size()) seen_[static_cast<size_t>(id)] = seen;
  }
}

void Sampler::score(std::span<const float> logits, std::span<const TokenId> context) {
  const double penalty = options_.repeat_penalty;
  if (seen_.size() < logits.size()) seen_.resize(logits.size());
  scored_.clear();
  scored_.reserve(logits.size());
  if (penalty != 1.0) mark(context, true);
  for (size_t i = 0; i < logits.size(); ++i) {
    float logit = logits[i];
    if (std::isnan(logit) || logit == std::numeric_limits<float>::infinity()) {
      mark(context, false);
      fail<Error>("sampler", "logit of token {}: got {}, expected a finite number. Are the weights sound?", i, logit);
    }
    if (std::isinf(logit)) continue;
    if (seen_[i]) logit = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
    scored_.push_back({static_cast<TokenId>(i), logit});
  }
  if (penalty != 1.0) mark(context, false);
  if (scored_.empty())
    fail<Error>("sampler", "logits: got {} excluded tokens, expected at least one that is not.", logits.size());
}

/// Softmax of the scores, which are sorted, divided by `temperature`.
std::span<const double> Sampler::probabilities(double temperature) {
  probabilities_.clear();
  double total = 0;
  for (const Scored& token : scored_) {
    const double below = static_cast<double>(token.logit) - static_cast<double>(scored_[0].logit);
    probabilities_.push_back(std::exp(below / temperature));
    total += probabilities_.back();
  }
  for (double& x : probabilities_) x /= total;
  return probabilities_;
}

std::span<const Candidate> Sampler::candidates(std::span<const float> logits, std::span<const TokenId> context) {
  const auto more_probable = [](const Scored& a, const Scored& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  score(logits, context);
  candidates_.clear();
  if (options_.temperature == 0) {
    candidates_.push_back({std::min_element(scored_.begin(), scored_.end(), more_probable)->id, 1.0});
    return candidates_;
  }
  const size_t k = options_.top_k == 0 ? scored_.size() : std::min(scored_.size(), static_cast<size_t>(options_.top_k));
  std::partial_sort(scored_.begin(), scored_.begin() + static_cast<std::ptrdiff_t>(k), scored_.end(), more_probable);
  scored_.resize(k);
  // Room for all at once: how many are kept changes from token to token.
  probabilities_.reserve(k);
  candidates_.reserve(k);
  if (options_.top_p < 1) scored_.resize(kept_by_top_p(probabilities(1.0), options_.top_p));
  if (options_.min_p > 0) scored_.resize(kept_by_min_p(probabilities(1.0), options_.min_p));
  const std::span<const double> p = probabilities(options_.temperature);
  for (size_t i = 0; i < scored_.size(); ++i) candidates_.push_back({scored_[i].id, p[i]});
  return candidates_;
}

TokenId Sampler::sample(std::span<const float> logits, std::span<const TokenId> context) {
  const std::span<const Candidate> list = candidates(logits, context);
  if (options_.temperature == 0) return list.front().id;
  double left = rng_.uniform();
  for (const Candidate& candidate : list) {
    left -= candidate.probability;
    if (left < 0) return candidate.id;
  }
  return list.back().id;  // rounding may leave the sum beside 1
}

}  // namespace scalebits
