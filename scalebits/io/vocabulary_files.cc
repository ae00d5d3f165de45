// SPDX-License-Identifier: Apache-2.0
/// vocab.json and merges.txt: what they leave unsaid is fixed by the tokenizer's class, as in Hugging Face
/// transformers.
#include <algorithm>

#include "scalebits/base/errors.h"
#include "scalebits/io/bpe.h"
#include "scalebits/io/bpe_patterns.h"
#include "scalebits/io/file.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer_parts.h"

namespace scalebits {
namespace {

constexpr std::string_view kEndOfText = "<|endoftext|>";  // what both classes take where the files name no token

enum class TokenizerClass { kGpt2, kQwen2 };

/// By tokenizer_config.json, else by the model_type of config.json; two files alone are what GPT-2 came as.
TokenizerClass find_class(const Component& config, const std::filesystem::path& dir) {
  Component name = config.child("tokenizer_class");
  const std::filesystem::path model_path = dir / "config.json";
  const Json model = read_json_or_empty(model_path);
  if (name.is_null()) name = Component(model, model_path.string(), "").child("model_type");
  if (name.is_null()) return TokenizerClass::kGpt2;
  std::string_view text = name.text();
  if (text.ends_with("Fast")) text.remove_suffix(4);
  if (text == "GPT2Tokenizer" || text == "gpt2") return TokenizerClass::kGpt2;
  if (text == "Qwen2Tokenizer" || text == "qwen2" || text == "qwen3") return TokenizerClass::kQwen2;
  name.unsupported(name.text(), "GPT2Tokenizer or Qwen2Tokenizer beside vocab.json and merges.txt");
}

/// The lines of a merges.txt; views into `text`.
void read_merges(std::string_view text, const std::filesystem::path& path, BpeModel& model) {
  int64_t line_number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      fail<FormatError>(fmt::format("{}:{}", path.string(), line_number),
                        "merge: got {}, expected two tokens with a space between.", quote(line));
    }
    model.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
}

}  // namespace

TokenizerParts read_vocabulary_files(const std::filesystem::path& dir) {
  const std::filesystem::path config_path = dir / "tokenizer_config.json";
  const Json config_json = read_json_or_empty(config_path);
  const Component config(config_json, config_path.string(), "");
  const TokenizerClass which = find_class(config, dir);
  const bool qwen = which == TokenizerClass::kQwen2;
  TokenizerParts parts;
  const Json normalizer = qwen ? Json({{"type", "NFC"}}) : Json();
  parts.normalizer = Normalizer(Component(normalizer, dir.string(), "normalizer"));
  const Json pre_tokenizer =
      bpe_pre_tokenizer(qwen ? BpePattern::kQwen2 : BpePattern::kGpt2, config.flag("add_prefix_space", false));
  parts.pre_tokenizer = PreTokenizer(Component(pre_tokenizer, dir.string(), "pre_tokenizer"));
  const Json decoder = {{"type", "ByteLevel"}};
  parts.decoder = TokenDecoder(Component(decoder, dir.string(), "decoder"));

  BpeModel model;
  model.file = dir.string();
  model.merges_key = "merges.txt";
  model.byte_level = true;
  const Json vocabulary = read_json(dir / "vocab.json");
  model.vocabulary = read_vocabulary(Component(vocabulary, (dir / "vocab.json").string(), "vocabulary"));
  const std::string merges = read_text_file(dir / "merges.txt", uint64_t{1} << 30);
  read_merges(merges, dir / "merges.txt", model);
  parts.model = std::make_unique<Bpe>(std::move(model));

  read_added_tokens(dir, config, {qwen ? "" : kEndOfText, kEndOfText, false}, parts);
  return parts;
}

}  // namespace scalebits
