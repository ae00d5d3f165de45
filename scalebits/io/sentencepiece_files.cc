// SPDX-License-Identifier: Apache-2.0
/// tokenizer.model, with what Hugging Face's LlamaTokenizer makes of it: added tokens are cut out first; `legacy` puts
/// a space before each stretch between them, as SentencePiece does with each text; without it only the beginning of the
/// input gets one.
#include <algorithm>
#include <array>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/sentencepiece_model.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer_parts.h"

namespace scalebits {
namespace {

constexpr std::string_view kMark = "\xe2\x96\x81";  // U+2581

void check_class(const Component& config) {
  const Component name = config.child("tokenizer_class");
  if (name.is_null()) return;
  constexpr std::array<std::string_view, 3> kKnown = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"};
  std::string_view text = name.text();
  if (text.ends_with("Fast")) text.remove_suffix(4);
  if (std::count(kKnown.begin(), kKnown.end(), text) == 0) {
    name.unsupported(name.text(), "LlamaTokenizer, CodeLlamaTokenizer or GemmaTokenizer beside a tokenizer.model");
  }
}

Json decoder_json(bool prefix) {
  Json steps = Json::array({{{"type", "Replace"}, {"pattern", {{"String", kMark}}}, {"content", " "}},
                            {{"type", "ByteFallback"}},
                            {{"type", "Fuse"}}});
  if (prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

}  // namespace

TokenizerParts read_sentencepiece(const std::filesystem::path& dir) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 28;
  const std::filesystem::path path = dir / "tokenizer.model";
  const std::string where = path.string();
  const Json config_json = read_json_or_empty(dir / "tokenizer_config.json");
  const Component config(config_json, (dir / "tokenizer_config.json").string(), "");
  check_class(config);
  const std::string file = read_text_file(path, kMaxBytes);
  const bool legacy = config.flag("legacy", true);
  auto model = SentencePieceModel::load(file, legacy && config.flag("add_prefix_space", true), where);
  const SentencePieceSpec& spec = model->spec();
  const bool prefix = spec.add_dummy_prefix && config.flag("add_prefix_space", true);
  if (!spec.escape_whitespaces) {
    fail<Unsupported>(where,
                      "escape_whitespaces: got false, expected true. This part of the tokenizer is not implemented.");
  }
  TokenizerParts parts;
  if (!legacy && prefix) {
    if (spec.remove_extra_whitespaces) {
      fail<Unsupported>(where,
                        "remove_extra_whitespaces: got true with `legacy: false`, expected false. This part of "
                        "the tokenizer is not implemented.");
    }
    const Json metaspace = {
        {"type", "Metaspace"}, {"replacement", kMark}, {"prepend_scheme", "first"}, {"split", false}};
    parts.pre_tokenizer = PreTokenizer(Component(metaspace, where, "legacy"));
  }
  const Json decoder = decoder_json(prefix);
  parts.decoder = TokenDecoder(Component(decoder, where, "decoder"));
  const SentencePieceModel& pieces = *model;
  parts.model = std::move(model);
  const auto named = [&](std::optional<TokenId> id) {
    return id ? pieces.vocabulary().token(*id) : std::string_view();
  };
  const std::string_view bos = named(pieces.bos());
  read_added_tokens(dir, config, {bos, named(pieces.eos()), !bos.empty()}, parts);
  for (TokenId id = 0; id < pieces.vocabulary().size(); ++id) {
    if (pieces.kind(id) == SentencePieceModel::Kind::kNormal) continue;
    parts.added.add_special(std::string(pieces.vocabulary().token(id)), id);
  }
  // With `legacy` SentencePiece finds them, and they do not begin a new stretch.
  for (const TokenId id : legacy ? std::vector<TokenId>() : spec.user_defined) {
    if (id >= pieces.vocabulary().size() || parts.added.find(id) != nullptr) continue;
    AddedTokens::Token token;
    token.content = token.written = pieces.vocabulary().token(id);
    parts.added.add(std::move(token), id, where);
  }
  return parts;
}

}  // namespace scalebits
