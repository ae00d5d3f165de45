// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/tokens.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/base/rng.h"

namespace scalebits {
namespace {

/// Sequences generated together by one task: shares each weight read between them.
constexpr int64_t kSampleBatch = 16;

void check_options(const CalibOptions& options) {
  if (options.seqlen < 2) fail<InvalidArgument>("--seqlen", "got {}, expected at least 2", options.seqlen);
  if (options.nsamples < 2) {
    fail<InvalidArgument>("--nsamples", "got {}, expected at least 2: one for gradients, one held out",
                          options.nsamples);
  }
}

/// The first `n` entries of a seeded shuffle of 0..total-1.
std::vector<size_t> draw_indices(size_t total, size_t n, uint64_t seed) {
  std::vector<size_t> order(total);
  std::iota(order.begin(), order.end(), size_t{0});
  Rng rng(seed);
  for (size_t i = 0; i < std::min(n, total); ++i) std::swap(order[i], order[i + rng.below(total - i)]);
  order.resize(std::min(n, total));
  return order;
}

TokenId draw_token(const float* logits, int64_t n, Rng& rng) {
  const float top = *std::max_element(logits, logits + n);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += std::exp(static_cast<double>(logits[i] - top));
  double left = rng.uniform() * total;
  for (int64_t i = 0; i < n; ++i) {
    left -= std::exp(static_cast<double>(logits[i] - top));
    if (left < 0) return static_cast<TokenId>(i);
  }
  return static_cast<TokenId>(n - 1);
}

/// Samples one batch of sequences, whose random streams are numbered from `first`.
void sample_batch(const ModelWeights& weights, const std::vector<DecoderLayer>& layers, const RopeTable& rope,
                  std::optional<TokenId> bos, std::optional<TokenId> eos, std::span<Sequence> batch, int64_t length,
                  uint64_t seed, int64_t first) {
  const at::NoGradGuard no_grad;
  const ModelConfig& config = weights.config();
  const auto n = static_cast<int64_t>(batch.size());
  std::vector<Rng> rngs;
  for (int64_t i = 0; i < n; ++i) {
    rngs.emplace_back(seed, static_cast<uint64_t>(first + i));
    const auto random = static_cast<TokenId>(rngs.back().below(static_cast<uint64_t>(config.vocab_size)));
    batch[static_cast<size_t>(i)] = {bos.value_or(random)};
  }
  std::vector<KvCache> caches;
  for (int64_t l = 0; l < config.n_layers; ++l) caches.emplace_back(config, n, length, weights.dtype());
  for (int64_t t = 0; t + 1 < length; ++t) {
    Sequence current;
    for (const Sequence& s : batch) current.push_back(s.back());
    at::Tensor x = weights.embed(current).transpose(0, 1).contiguous();  // [n, 1, d_model]
    for (int64_t l = 0; l < config.n_layers; ++l) {
      const auto k = static_cast<size_t>(l);
      x = decoder_layer_forward(config, layers[k], rope, x, t, &caches[k], nullptr);
    }
    const at::Tensor logits = weights.logits(weights.final_hidden(x)).contiguous();
    for (int64_t i = 0; i < n; ++i) {
      const float* row = logits.data_ptr<float>() + i * config.vocab_size;
      Sequence& s = batch[static_cast<size_t>(i)];
      TokenId next = draw_token(row, config.vocab_size, rngs[static_cast<size_t>(i)]);
      // After the end of a document the model was trained to see the next one begin.
      if (eos && s.back() == *eos && bos) next = *bos;
      s.push_back(next);
    }
  }
}

/// bf16 products are fast only where the instruction set has them or oneDNN can mimic them.
at::ScalarType sampling_dtype(const ModelConfig& config) {
  return config.stored_dtype == "bfloat16" && __builtin_cpu_supports("avx512bw") ? at::kBFloat16 : at::kFloat;
}

}  // namespace

std::vector<Sequence> sequences_from_documents(const Tokenizer& tokenizer, const std::vector<std::string>& documents,
                                               const CalibOptions& options, const std::string& where, Log& log) {
  check_options(options);
  Sequence all;
  for (const std::string& document : documents) {
    const std::vector<TokenId> ids = tokenizer.encode(document, /*special=*/false);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  const bool bos = tokenizer.add_bos() && tokenizer.bos().has_value();
  const auto body = static_cast<size_t>(options.seqlen - (bos ? 1 : 0));
  const size_t windows = all.size() / body;
  if (windows < 2) {
    fail<FormatError>(where,
                      "calibration text: got {} tokens, expected at least {} (two windows of {}). Give more text or "
                      "a smaller --seqlen.",
                      all.size(), 2 * body, options.seqlen);
  }
  if (windows < static_cast<size_t>(options.nsamples)) {
    log.warn("{}: {} tokens give {} windows of {}, fewer than --nsamples {}; all are used", where, all.size(), windows,
             options.seqlen, options.nsamples);
  }
  std::vector<Sequence> sequences;
  for (const size_t w : draw_indices(windows, static_cast<size_t>(options.nsamples), options.seed)) {
    Sequence s;
    if (bos) s.push_back(*tokenizer.bos());
    s.insert(s.end(), all.begin() + static_cast<std::ptrdiff_t>(w * body),
             all.begin() + static_cast<std::ptrdiff_t>((w + 1) * body));
    sequences.push_back(std::move(s));
  }
  return sequences;
}

std::vector<Sequence> sample_sequences(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelConfig& config,
                                       const Tokenizer& tokenizer, const CalibOptions& options, Log& log) {
  check_options(options);
  DenseWeights weights(checkpoint, config, {}, sampling_dtype(config));
  std::vector<Sequence> sequences(static_cast<size_t>(options.nsamples));
  const RopeTable rope(weights.config(), options.seqlen);
  weights.keep_layers();
  std::vector<DecoderLayer> layers;
  for (int64_t l = 0; l < weights.config().n_layers; ++l) layers.push_back(weights.layer(l));
  const int64_t batches = (options.nsamples + kSampleBatch - 1) / kSampleBatch;
  const int64_t at_once = num_threads();
  for (int64_t first = 0; first < batches; first += at_once) {
    throw_if_stopped();
    log.progress("sampling calibration text", first, batches);
    parallel_for(std::min(at_once, batches - first), [&](int64_t i) {
      const int64_t begin = (first + i) * kSampleBatch;
      const auto count = static_cast<size_t>(std::min(kSampleBatch, options.nsamples - begin));
      sample_batch(weights, layers, rope, tokenizer.bos(), tokenizer.eos(),
                   std::span(sequences).subspan(static_cast<size_t>(begin), count), options.seqlen, options.seed,
                   begin);
    });
  }
  log.progress("sampling calibration text", batches, batches);
  return sequences;
}

CalibSet split_calibration(std::vector<Sequence> sequences, std::string source) {
  SCALEBITS_CHECK(sequences.size() >= 2);
  CalibSet set;
  set.source = std::move(source);
  Hasher hasher;
  for (size_t i = 0; i < sequences.size(); ++i) {
    hasher.update(std::as_bytes(std::span(sequences[i])));
    const bool held = sequences.size() < 4 ? i + 1 == sequences.size() : i % 4 == 3;
    (held ? set.heldout : set.gradient).push_back(std::move(sequences[i]));
  }
  set.hash = hasher.hex();
  return set;
}

}  // namespace scalebits
