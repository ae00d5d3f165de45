// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/io/hf_families.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr const char* kKnownTypes = "default, linear, llama3 or longrope";

void read_llama3(const ConfigSection& rope, RopeScaling& out) {
  out.kind = RopeScaling::Kind::kLlama3;
  out.factor = rope.positive_number("factor");
  out.low_freq_factor = rope.positive_number("low_freq_factor");
  out.high_freq_factor = rope.positive_number("high_freq_factor");
  out.original_context = rope.positive("original_max_position_embeddings", kMaxContext);
  if (out.low_freq_factor >= out.high_freq_factor) {
    rope.wrong("high_freq_factor", fmt::format("more than low_freq_factor, {}", out.low_freq_factor));
  }
}

/// transformers, modeling_rope_utils.py, `_compute_longrope_parameters`.
void read_longrope(const ConfigSection& config, const ConfigSection& rope, ModelConfig& model) {
  RopeScaling& out = model.rope_scaling;
  out.kind = RopeScaling::Kind::kLongRope;
  const auto n = static_cast<size_t>(model.rotary_dim() / 2);
  out.short_factor = rope.positive_numbers("short_factor", n);
  out.long_factor = rope.positive_numbers("long_factor", n);
  const ConfigSection& owner = config.find("original_max_position_embeddings") != nullptr ? config : rope;
  out.original_context = owner.positive("original_max_position_embeddings", kMaxContext, model.max_context);
  const double trained = static_cast<double>(out.original_context);
  out.factor = rope.positive_number("factor", static_cast<double>(model.max_context) / trained);
  const double suggested =
      out.factor > 1 && trained > 1 ? std::sqrt(1 + std::log(out.factor) / std::log(trained)) : 1.0;
  out.attention_factor = rope.positive_number("attention_factor", suggested);
}

/// @param rope where the scaling is written, an object called `key`
void read_scaling(const ConfigSection& config, const ConfigSection& rope, std::string_view key, ModelConfig& model) {
  const std::string type = rope.text("rope_type", rope.text("type", ""));
  if (type == "linear") {
    model.rope_scaling.kind = RopeScaling::Kind::kLinear;
    model.rope_scaling.factor = rope.positive_number("factor");
  } else if (type == "llama3") {
    read_llama3(rope, model.rope_scaling);
  } else if (type == "longrope" || type == "su") {  // the name of its first days
    read_longrope(config, rope, model);
  } else if (type.empty()) {
    // Without a type only a bare theta is harmless; anything else (a table per layer type, a factor) changes the model.
    for (const auto& [name, value] : rope.json().items()) {
      if (name != "rope_theta" && name != "partial_rotary_factor") rope.wrong("rope_type", kKnownTypes);
    }
  } else if (type != "default" && type != "none") {
    fail<Unsupported>(config.where(), "{}.rope_type: got {}, expected {}.", key, quote(type), kKnownTypes);
  }
}

void read_partial_rotary(const ConfigSection& config, const ConfigSection& rope, const Family& family,
                         ModelConfig& model) {
  const double factor =
      rope.positive_number("partial_rotary_factor", config.positive_number("partial_rotary_factor", 1.0));
  if (factor != 1.0 && !family.partial_rotary) {
    fail<Unsupported>(config.where(), "partial_rotary_factor: got {}, expected 1.", factor);
  }
  model.partial_rotary = factor;
  if (factor > 1 || model.rotary_dim() < 2 || model.rotary_dim() % 2 != 0) {
    fail<FormatError>(config.where(),
                      "partial_rotary_factor: got {}, expected an even number of at least 2 of the {} channels of a "
                      "head.",
                      factor, model.head_dim);
  }
}

/// Layers with a window have angles of their own: rope_local_base_freq, or rope_parameters.sliding_attention.
void read_local_rope(const ConfigSection& config, const Json* nested, const Family& family, ModelConfig& model) {
  const Json empty = Json::object();
  const Json* json = nullptr;
  if (nested != nullptr) json = ConfigSection(*nested, config.where(), "rope_parameters.").object("sliding_attention");
  const ConfigSection local(json != nullptr ? *json : empty, config.where(), "rope_parameters.sliding_attention.");
  const std::string type = local.text("rope_type", local.text("type", "default"));
  if (type != "default") {
    fail<Unsupported>(config.where(), "rope_parameters.sliding_attention.rope_type: got {}, expected default.",
                      quote(type));
  }
  model.local_rope_theta =
      local.positive_number("rope_theta", config.positive_number("rope_local_base_freq", family.default_local_theta));
}

}  // namespace

/// Where transformers keeps what belongs to RoPE: `rope_scaling` and a `rope_theta` beside it before version 5, all in
/// `rope_parameters` since then, there in one object or, where layers differ, one for each kind of layer. Version 5
/// prefers the old key when it is there, and so do we.
void read_rope(const ConfigSection& config, const Family& family, ModelConfig& model) {
  const Json* scaling = config.object("rope_scaling");
  std::string key = scaling != nullptr && !scaling->empty() ? "rope_scaling" : "rope_parameters";
  const Json* json = config.object(key.c_str());
  const bool two_kinds = family.default_local_theta > 0;
  const Json* nested = two_kinds && json != nullptr && key == "rope_parameters" ? json : nullptr;
  if (two_kinds) read_local_rope(config, nested, family, model);
  if (nested != nullptr && (nested->contains("full_attention") || nested->contains("sliding_attention"))) {
    key += ".full_attention";
    json = ConfigSection(*nested, config.where(), "rope_parameters.").object("full_attention");
  }
  const Json empty = Json::object();
  const ConfigSection rope(json != nullptr ? *json : empty, config.where(), fmt::format("{}.", key));
  model.rope_theta = rope.positive_number("rope_theta", config.positive_number("rope_theta", family.default_theta));
  read_partial_rotary(config, rope, family, model);
  if (json != nullptr) read_scaling(config, rope, key, model);
}

}  // namespace scalebits
