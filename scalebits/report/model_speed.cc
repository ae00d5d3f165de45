// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/model_speed.h"

#include <algorithm>
#include <chrono>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"

namespace scalebits {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

int64_t weight_bytes(const Linear& linear) {
  if (const auto* packed = dynamic_cast<const PackedLinear*>(&linear)) {
    const PackedView& v = packed->view();
    return static_cast<int64_t>(v.bits.size() + v.codes.size() + v.scales.size() + v.zeros.size());
  }
  return static_cast<int64_t>(dynamic_cast<const DenseLinear&>(linear).weight().nbytes());
}

/// Traffic and memory. Experts may differ in size: a token reads the mean of n_active of them.
void count_bytes(const ModelWeights& weights, ModelSpeed& speed) {
  const ModelConfig& config = weights.config();
  speed.bytes_per_token = speed.weight_bytes = weight_bytes(*weights.head_linear());
  for (int64_t l = 0; l < config.n_layers; ++l) {
    const DecoderLayer layer = weights.layer(l);
    int64_t of_all = layer.router ? weight_bytes(*layer.router) : 0, of_experts = 0;
    for (const Slot slot : slots(config, l)) {
      (is_experts(config, l, slot) ? of_experts : of_all) += weight_bytes(layer[slot]);
    }
    speed.weight_bytes += of_all + of_experts;
    speed.bytes_per_token += of_all;
    if (of_experts > 0) speed.bytes_per_token += of_experts * config.experts.n_active / config.experts.n_experts;
  }
}

std::vector<TokenId> random_ids(int64_t n, int64_t vocab_size) {
  Rng rng(1);
  std::vector<TokenId> ids(static_cast<size_t>(n));
  for (TokenId& id : ids) id = static_cast<TokenId>(rng.below(static_cast<uint64_t>(vocab_size)));
  return ids;
}

TokenSpeed summary(int64_t tokens, std::vector<double> tps) {
  std::sort(tps.begin(), tps.end());
  const auto at = [&](double share) {
    return tps[static_cast<size_t>(share * static_cast<double>(tps.size() - 1) + 0.5)];
  };
  return {.tokens = tokens, .tps = at(0.5), .p10 = at(0.1), .p90 = at(0.9)};
}

/// `step` ids at a time.
TokenSpeed measure(DecodeSession& session, const std::vector<TokenId>& ids, size_t step, int repetitions, Log& log) {
  std::vector<double> tps;
  for (int i = 0; i <= repetitions; ++i) {
    log.progress(step == 1 ? "single tokens" : "prompt", i, repetitions + 1);
    session.rewind(0);
    const auto start = Clock::now();
    for (size_t first = 0; first < ids.size(); first += step) session.push(std::span(ids).subspan(first, step));
    if (i > 0) tps.push_back(static_cast<double>(ids.size()) / seconds_since(start));
  }
  log.progress(step == 1 ? "single tokens" : "prompt", repetitions + 1, repetitions + 1);
  return summary(static_cast<int64_t>(ids.size()), std::move(tps));
}

}  // namespace

ModelSpeed measure_model(ModelWeights& weights, const ModelSpeedOptions& options, Log& log) {
  int64_t most = 1;
  for (const auto& lengths : {options.pp, options.tg}) {
    for (const int64_t n : lengths) {
      if (n < 1) fail<InvalidArgument>("--pp, --tg", "got {} tokens, expected at least 1.", n);
      most = std::max(most, n);
    }
  }
  if (options.repetitions < 1)
    fail<InvalidArgument>("--repetitions", "got {}, expected at least 1.", options.repetitions);
  ModelSpeed speed;
  const auto start = Clock::now();
  DecodeSession session(weights, most, options.decode);
  const std::vector<TokenId> ids = random_ids(most, weights.config().vocab_size);
  session.push(std::span(ids).first(1));
  speed.first_token_seconds = seconds_since(start);
  count_bytes(weights, speed);
  const auto first_ids = [&](int64_t n) { return std::vector<TokenId>(ids.begin(), ids.begin() + n); };
  for (const int64_t n : options.pp) {
    speed.pp.push_back(measure(session, first_ids(n), static_cast<size_t>(n), options.repetitions, log));
  }
  for (const int64_t n : options.tg) speed.tg.push_back(measure(session, first_ids(n), 1, options.repetitions, log));
  return speed;
}

}  // namespace scalebits
