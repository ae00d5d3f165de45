// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

struct Scored {
  TokenId id = 0;
  float logit = 0.0F;
};

bool more_probable(const Scored& a, const Scored& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

/// All tokens that are not excluded, the penalty applied.
std::vector<Scored> scored(std::span<const float> logits, std::span<const TokenId> context, double penalty) {
  std::unordered_set<TokenId> seen;
  if (penalty != 1.0) seen.insert(context.begin(), context.end());
  std::vector<Scored> tokens;
  tokens.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    float logit = logits[i];
    if (std::isnan(logit) || logit == std::numeric_limits<float>::infinity()) {
      fail<Error>("sampler", "logit of token {}: got {}, expected a finite number. Are the weights sound?", i, logit);
    }
    if (std::isinf(logit)) continue;
    const auto id = static_cast<TokenId>(i);
    if (seen.contains(id)) logit = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
    tokens.push_back({id, logit});
  }
  if (tokens.empty())
    fail<Error>("sampler", "logits: got {} excluded tokens, expected at least one that is not.", logits.size());
  return tokens;
}

/// Softmax of sorted logits divided by `temperature`.
std::vector<double> probabilities(std::span<const Scored> sorted, double temperature) {
  std::vector<double> p;
  double total = 0;
  for (const Scored& token : sorted) {
    p.push_back(std::exp((static_cast<double>(token.logit) - static_cast<double>(sorted[0].logit)) / temperature));
    total += p.back();
  }
  for (double& x : p) x /= total;
  return p;
}

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

std::vector<Candidate> Sampler::candidates(std::span<const float> logits, std::span<const TokenId> context) const {
  std::vector<Scored> tokens = scored(logits, context, options_.repeat_penalty);
  if (options_.temperature == 0) {
    return {{std::min_element(tokens.begin(), tokens.end(), more_probable)->id, 1.0}};
  }
  const size_t k = options_.top_k == 0 ? tokens.size() : std::min(tokens.size(), static_cast<size_t>(options_.top_k));
  std::partial_sort(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(k), tokens.end(), more_probable);
  tokens.resize(k);
  if (options_.top_p < 1) tokens.resize(kept_by_top_p(probabilities(tokens, 1.0), options_.top_p));
  if (options_.min_p > 0) tokens.resize(kept_by_min_p(probabilities(tokens, 1.0), options_.min_p));
  const std::vector<double> p = probabilities(tokens, options_.temperature);
  std::vector<Candidate> result;
  for (size_t i = 0; i < tokens.size(); ++i) result.push_back({tokens[i].id, p[i]});
  return result;
}

TokenId Sampler::sample(std::span<const float> logits, std::span<const TokenId> context) {
  const std::vector<Candidate> list = candidates(logits, context);
  if (options_.temperature == 0) return list.front().id;
  double left = rng_.uniform();
  for (const Candidate& candidate : list) {
    left -= candidate.probability;
    if (left < 0) return candidate.id;
  }
  return list.back().id;  // rounding may leave the sum beside 1
}

}  // namespace scalebits
