// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/bpe_patterns.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

// As the models' own tokenizer.json have them; llama.cpp (src/llama-vocab.cpp) rewrites some for its regex engine.
constexpr std::string_view kGpt2Text = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Text =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Text =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35Text =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenText =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4oText =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseek3Text =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Each pattern cuts what those before it have left: one Split after another.
Json splits(bool prefix_space, std::initializer_list<std::string_view> patterns) {
  Json steps = Json::array();
  for (const std::string_view pattern : patterns) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", std::string(pattern)}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

struct Named {
  std::string_view name;
  GgufPreTokenizer what;
};

constexpr GgufPreTokenizer kLlama3 = {BpePattern::kLlama3, true, true};

// llama.cpp, src/llama-vocab.cpp: llama_vocab::impl::load.
constexpr std::array kNames = {
    Named{"default", {BpePattern::kDefault}},
    Named{"gpt-2", {BpePattern::kGpt2}},
    Named{"phi-2", {BpePattern::kGpt2}},
    Named{"mpt", {BpePattern::kGpt2}},
    Named{"olmo", {BpePattern::kGpt2}},
    Named{"jais", {BpePattern::kGpt2}},
    Named{"trillion", {BpePattern::kGpt2}},
    Named{"exaone4", {BpePattern::kGpt2}},
    Named{"starcoder", {BpePattern::kDigits}},
    Named{"refact", {BpePattern::kDigits}},
    Named{"command-r", {BpePattern::kDigits}},
    Named{"smollm", {BpePattern::kDigits}},
    Named{"codeshell", {BpePattern::kDigits}},
    Named{"exaone", {BpePattern::kDigits}},
    Named{"minerva-7b", {BpePattern::kDigits}},
    Named{"llama3", kLlama3},
    Named{"llama-v3", kLlama3},
    Named{"llama-bpe", kLlama3},
    Named{"falcon3", kLlama3},
    Named{"falcon-h1", kLlama3},
    Named{"pixtral", kLlama3},
    Named{"lfm2", kLlama3},
    Named{"dbrx", {BpePattern::kLlama3}},
    Named{"smaug-bpe", {BpePattern::kLlama3}},
    Named{"glm4", {BpePattern::kLlama3}},
    Named{"chatglm-bpe", {BpePattern::kLlama3}},
    Named{"qwen2", {BpePattern::kQwen2}},
    Named{"deepseek-r1-qwen", {BpePattern::kQwen2}},
    Named{"stablelm2", {BpePattern::kQwen2}},
    Named{"hunyuan", {BpePattern::kQwen2}},
    Named{"megrez", {BpePattern::kQwen2}},
    Named{"grok-2", {BpePattern::kQwen2}},
    Named{"qwen35", {BpePattern::kQwen35}},
    Named{"falcon", {BpePattern::kFalcon}},
    Named{"deepseek-v3", {BpePattern::kDeepseek3}},
    Named{"hunyuan-dense", {BpePattern::kDeepseek3}},
    Named{"tekken", {BpePattern::kTekken, true, true}},
    Named{"gpt-4o", {BpePattern::kGpt4o}},
    Named{"llama4", {BpePattern::kGpt4o}},
};

}  // namespace

Json bpe_pre_tokenizer(BpePattern pattern, bool prefix_space) {
  switch (pattern) {
    case BpePattern::kGpt2:
      return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"use_regex", true}};
    case BpePattern::kDigits:
      return splits(prefix_space, {R"(\p{N})", kGpt2Text});
    case BpePattern::kLlama3:
      return splits(prefix_space, {kLlama3Text});
    case BpePattern::kQwen2:
      return splits(prefix_space, {kQwen2Text});
    case BpePattern::kQwen35:
      return splits(prefix_space, {kQwen35Text});
    case BpePattern::kFalcon:
      return splits(prefix_space, {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Text, "[0-9][0-9][0-9]"});
    case BpePattern::kDeepseek3:
      return splits(prefix_space,
                    {R"(\p{N}{1,3})", R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)", kDeepseek3Text});
    case BpePattern::kTekken:
      return splits(prefix_space, {kTekkenText});
    case BpePattern::kGpt4o:
      return splits(prefix_space, {kGpt4oText});
    case BpePattern::kDefault:
      return splits(prefix_space, {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Text, R"(\p{N}+)", "[0-9][0-9][0-9]"});
  }
  SCALEBITS_CHECK(false);
  return nullptr;
}

std::optional<GgufPreTokenizer> find_gguf_pre_tokenizer(std::string_view name) {
  const auto* found =
      std::find_if(kNames.begin(), kNames.end(), [&](const Named& named) { return named.name == name; });
  if (found == kNames.end()) return std::nullopt;
  return found->what;
}

}  // namespace scalebits
