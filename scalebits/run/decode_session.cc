// SPDX-License-Identifier: Apache-2.0
#include "scalebits/run/decode_session.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"

namespace scalebits {
namespace {

/// Elements of one task of an elementwise pass.
constexpr int64_t kTaskElements = 1 << 14;

std::span<const float> as_span(const at::Tensor& t) { return {t.data_ptr<float>(), static_cast<size_t>(t.numel())}; }

/// The first n_tokens rows of a buffer that grows where needed.
std::span<float> rows_of(std::vector<float>& buffer, int64_t n_tokens, int64_t width) {
  const auto n = static_cast<size_t>(n_tokens * width);
  if (buffer.size() < n) buffer.resize(n);
  return std::span(buffer).first(n);
}

/// x = cap * tanh(x / cap)
void cap(std::span<float> x, float cap) {
  const auto n = static_cast<int64_t>(x.size());
  parallel_for(ceil_div(n, kTaskElements), [&](int64_t task) {
    for (int64_t i = task * kTaskElements; i < std::min(n, (task + 1) * kTaskElements); ++i) {
      float& value = x[static_cast<size_t>(i)];
      value = cap * std::tanh(value / cap);
    }
  });
}

}  // namespace

DecodeSession::DecodeSession(ModelWeights& weights, int64_t capacity, const DecodeOptions& options)
    : weights_(weights), config_(weights.config()), options_(options), capacity_(capacity), mixture_(config_) {
  if (capacity > config_.max_context) {
    fail<InvalidArgument>("context", "got {} tokens, expected at most {} (max_position_embeddings of the model).",
                          capacity, config_.max_context);
  }
  SCALEBITS_CHECK(options.chunk >= 1);
  rope_ = RopeTable(config_, capacity);
  weights.keep_layers();
  head_ = weights.head_linear();
  for (int64_t l = 0; l < config_.n_layers; ++l) {
    layers_.push_back(weights.layer(l));
    caches_.emplace_back(config_, layers_.back(), capacity);
  }
}

void DecodeSession::add_to_hidden(std::span<const float> y, const at::Tensor& post_norm) {
  if (!post_norm.defined()) {
    const auto n = static_cast<int64_t>(y.size());
    parallel_for(ceil_div(n, kTaskElements), [&](int64_t task) {
      const int64_t end = std::min(n, (task + 1) * kTaskElements);
      for (int64_t i = task * kTaskElements; i < end; ++i) hidden_[static_cast<size_t>(i)] += y[static_cast<size_t>(i)];
    });
    return;
  }
  const auto d = static_cast<size_t>(config_.d_model);
  const NormBefore norm{.weight = as_span(post_norm), .eps = static_cast<float>(config_.norm_eps)};
  parallel_for(static_cast<int64_t>(y.size() / d), [&](int64_t t) {
    thread_local std::vector<float> normed;
    normed.resize(d);
    const size_t first = static_cast<size_t>(t) * d;
    apply_norm(y.subspan(first, d), norm, normed);
    for (size_t c = 0; c < d; ++c) hidden_[first + c] += normed[c];
  });
}

void DecodeSession::run_layer(size_t index, int64_t n) {
  const DecoderLayer& layer = layers_[index];
  const int64_t d = config_.d_model, q_width = config_.n_heads * config_.head_dim;
  const int64_t kv_width = config_.n_kv_heads * config_.head_dim;
  const auto eps = static_cast<float>(config_.norm_eps);
  const auto product = [&](Slot slot, std::span<float> y) { return LinearProduct{&layer[slot], y}; };
  const std::span<float> hidden = rows_of(hidden_, n, d), out = rows_of(out_, n, d);
  const std::span<float> q = rows_of(q_, n, q_width), k = rows_of(k_, n, kv_width), v = rows_of(v_, n, kv_width);
  const std::span<float> heads = rows_of(heads_, n, q_width);

  input_.set(hidden, n, {.weight = as_span(layer.attn_norm), .eps = eps});
  multiply(std::array{product(Proj::kQ, q), product(Proj::kK, k), product(Proj::kV, v)}, input_, options_.activations);
  caches_[index].attend(rope_, {q, k, v}, n, position_, rows_of(queries_, n, q_width), heads);
  input_.set(heads, n);
  multiply(std::array{product(Proj::kO, out)}, input_, options_.activations);
  add_to_hidden(out, layer.attn_post_norm);

  input_.set(hidden, n, {.weight = as_span(layer.mlp_norm), .eps = eps});
  if (layer.router) {
    mixture_.run(layer, input_, options_.activations, out);
    add_to_hidden(out, layer.mlp_post_norm);
    return;
  }
  const std::span<float> gate = rows_of(gate_, n, config_.d_ff), up = rows_of(up_, n, config_.d_ff);
  multiply(std::array{product(Proj::kGate, gate), product(Proj::kUp, up)}, input_, options_.activations);
  const auto elements = static_cast<int64_t>(gate.size());
  const auto gated = config_.activation == Activation::kSilu ? active_kernels().swiglu : active_kernels().geglu;
  parallel_for(ceil_div(elements, kTaskElements), [&](int64_t task) {
    const int64_t first = task * kTaskElements;
    gated(gate.data() + first, up.data() + first, std::min(kTaskElements, elements - first));
  });
  input_.set(gate, n);
  multiply(std::array{product(Proj::kDown, out)}, input_, options_.activations);
  add_to_hidden(out, layer.mlp_post_norm);
}

void DecodeSession::read_chunk(std::span<const TokenId> ids) {
  const auto n = static_cast<int64_t>(ids.size());
  weights_.embed_into(ids, rows_of(hidden_, n, config_.d_model));
  for (size_t l = 0; l < layers_.size(); ++l) run_layer(l, n);
  position_ += n;
}

std::span<const float> DecodeSession::push(std::span<const TokenId> ids) {
  const auto n = static_cast<int64_t>(ids.size());
  SCALEBITS_CHECK(n > 0 && position_ + n <= capacity_);
  int64_t in_chunk = 0;
  for (int64_t first = 0; first < n; first += in_chunk) {
    throw_if_stopped();
    in_chunk = std::min(options_.chunk, n - first);
    read_chunk(ids.subspan(static_cast<size_t>(first), static_cast<size_t>(in_chunk)));
  }
  const int64_t d = config_.d_model;
  const std::span<const float> last =
      std::span(hidden_).subspan(static_cast<size_t>((in_chunk - 1) * d), static_cast<size_t>(d));
  input_.set(last, 1, {.weight = as_span(weights_.final_norm()), .eps = static_cast<float>(config_.norm_eps)});
  const std::span<float> logits = rows_of(logits_, 1, config_.vocab_size);
  multiply(std::array{LinearProduct{head_.get(), logits}}, input_, options_.activations);
  if (config_.logit_cap > 0) cap(logits, static_cast<float>(config_.logit_cap));
  return logits;
}

void DecodeSession::rewind(int64_t position) {
  SCALEBITS_CHECK(position >= 0 && position <= position_);
  position_ = position;
}

}  // namespace scalebits
