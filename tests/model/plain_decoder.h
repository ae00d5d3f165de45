// SPDX-License-Identifier: Apache-2.0
/// The decoder once more, from its equations in plain float64 operations with libtorch's own autograd: gradients to
/// compare with. Shares nothing with model/ but the config; plain_decoder_test.cc holds it to the golden values.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>

#include "scalebits/model/names.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/model/golden.h"

namespace scalebits::test {

struct PlainDecoder {
  ModelConfig config;
  std::map<std::string, at::Tensor> weights;  ///< f64, by stored name
  /// Gets the name and the input, [T, in_features], of every linear layer of the decoder.
  std::function<void(const std::string&, const at::Tensor&)> watch = {};

  explicit PlainDecoder(const std::filesystem::path& dir) : config(read_hf_config(dir)) {
    for (const auto& [name, tensor] : read_tensors(dir)) weights[name] = tensor.to(at::kDouble);
  }

  /// [T, vocab_size]
  [[nodiscard]] at::Tensor logits(const std::vector<TokenId>& ids) const {
    at::Tensor index = at::empty({static_cast<int64_t>(ids.size())}, at::kLong);
    std::copy(ids.begin(), ids.end(), index.data_ptr<int64_t>());
    at::Tensor x = weights.at("model.embed_tokens.weight").index_select(0, index);
    for (int64_t l = 0; l < config.n_layers; ++l) {
      const std::string prefix = "model.layers." + std::to_string(l) + ".";
      x = x + attention(norm(x, prefix + "input_layernorm.weight"), prefix + "self_attn.");
      const at::Tensor h = norm(x, prefix + "post_attention_layernorm.weight");
      const at::Tensor gate = linear(h, prefix + "mlp.gate_proj");
      x = x + linear(gate * at::sigmoid(gate) * linear(h, prefix + "mlp.up_proj"), prefix + "mlp.down_proj");
    }
    const char* head = config.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    return at::matmul(norm(x, "model.norm.weight"), weights.at(head).t());
  }

  /// Makes every weight a leaf without gradient; call it before logits().
  void track() {
    for (auto& [name, tensor] : weights) tensor = tensor.detach().requires_grad_(true);
  }
  /// Forgets the gradients of a backward pass whose graph is used again.
  void clear_gradients() {
    for (auto& [name, tensor] : weights) tensor.mutable_grad() = at::Tensor();
  }
  [[nodiscard]] at::Tensor gradient(const std::string& linear) const { return weights.at(linear + ".weight").grad(); }

 private:
  [[nodiscard]] at::Tensor linear(const at::Tensor& x, const std::string& name) const {
    if (watch) watch(name, x);
    const at::Tensor y = at::matmul(x, weights.at(name + ".weight").t());
    return weights.contains(name + ".bias") ? y + weights.at(name + ".bias") : y;
  }
  [[nodiscard]] at::Tensor norm(const at::Tensor& x, const std::string& name) const {
    return x / at::sqrt((x * x).mean(-1, true) + config.norm_eps) * weights.at(name);
  }
  [[nodiscard]] at::Tensor rotate(const at::Tensor& x) const {  // [T, heads, head_dim]
    const int64_t half = config.head_dim / 2;
    at::Tensor frequency = at::empty({half}, at::kDouble);
    for (int64_t i = 0; i < half; ++i) frequency.data_ptr<double>()[i] = radians_per_position(i);
    const at::Tensor angle = at::outer(at::arange(x.size(0), at::kDouble), frequency).unsqueeze(1);
    const at::Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half);
    return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 2);
  }
  [[nodiscard]] double radians_per_position(int64_t i) const {
    const RopeScaling& r = config.rope_scaling;
    const double f = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (r.kind != RopeScaling::Kind::kLlama3) return f;
    const double turns = static_cast<double>(r.original_context) * f / (2.0 * M_PI);
    const double share =
        std::min(1.0, std::max(0.0, (turns - r.low_freq_factor) / (r.high_freq_factor - r.low_freq_factor)));
    return share * f + (1.0 - share) * f / r.factor;
  }
  [[nodiscard]] at::Tensor attention(const at::Tensor& x, const std::string& prefix) const {
    const int64_t t = x.size(0), d = config.head_dim;
    const at::Tensor q = rotate(linear(x, prefix + "q_proj").reshape({t, config.n_heads, d}));
    const at::Tensor k = rotate(linear(x, prefix + "k_proj").reshape({t, config.n_kv_heads, d}));
    const at::Tensor v = linear(x, prefix + "v_proj").reshape({t, config.n_kv_heads, d});
    const at::Tensor future = at::ones({t, t}, at::kBool).triu(1);
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < config.n_heads; ++h) {
      const int64_t g = h / (config.n_heads / config.n_kv_heads);
      const at::Tensor scores = at::matmul(q.select(1, h), k.select(1, g).t()) / std::sqrt(static_cast<double>(d));
      const at::Tensor p = at::softmax(scores.masked_fill(future, -std::numeric_limits<double>::infinity()), -1);
      heads.push_back(at::matmul(p, v.select(1, g)));
    }
    return linear(at::cat(heads, 1), prefix + "o_proj");
  }
};

}  // namespace scalebits::test
