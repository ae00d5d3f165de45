// SPDX-License-Identifier: Apache-2.0
/// Any bytes as config.json: they are refused with a library error, or give a model whose sizes fit together.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "scalebits/base/errors.h"
#include "scalebits/io/hf_config.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const scalebits::ModelConfig& model) {
  require(model.vocab_size > 0 && model.d_model > 0 && model.d_ff > 0 && model.n_layers > 0 && model.max_context > 0);
  require(model.n_heads > 0 && model.n_kv_heads > 0 && model.n_heads % model.n_kv_heads == 0);
  require(model.head_dim > 0 && model.head_dim % 2 == 0);
  require(model.norm_eps > 0 && model.rope_theta > 0 && model.rope_scaling.factor > 0);
  require(model.rotary_dim() >= 2 && model.rotary_dim() <= model.head_dim && model.rotary_dim() % 2 == 0);
  require(model.score_scale() > 0 && model.embed_scale > 0 && model.attention_cap >= 0 && model.logit_cap >= 0);
  require(model.windowed.empty() ? model.window == 0
                                 : model.window > 0 && static_cast<int64_t>(model.windowed.size()) == model.n_layers);
  // No product of sizes that the transformer forms may overflow.
  require(model.n_heads * model.head_dim <= int64_t{1} << 22);
  require(model.vocab_size <= int64_t{1} << 24 && model.d_model <= int64_t{1} << 20);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(scalebits::parse_hf_config({reinterpret_cast<const char*>(data), size}, "config.json"));
  } catch (const scalebits::FormatError& error) {
    require(std::string_view(error.what()).size() < 2000);
  } catch (const scalebits::Unsupported& error) {
    require(std::string_view(error.what()).size() < 2000);
  }
  return 0;
}
