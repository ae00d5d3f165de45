// SPDX-License-Identifier: Apache-2.0
/// tokenizer.model, put in the words of a tokenizer.json: what the SentencePiece library does, and what Hugging Face's
/// LlamaTokenizer makes of it. Added tokens are cut out first; `legacy` puts a space before each stretch between them,
/// as SentencePiece does with each text; without it only the beginning of the input gets one.
#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_set>

#include "scalebits/base/errors.h"
#include "scalebits/io/bpe.h"
#include "scalebits/io/file.h"
#include "scalebits/io/sentencepiece_spec.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer_parts.h"
#include "scalebits/io/unigram.h"

namespace scalebits {
namespace {

using Model = SentencePieceSpec::Model;

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

/// The whole of a tokenizer.model, refused by name where it asks for what is not here.
class SentencePieceFile {
 public:
  explicit SentencePieceFile(const std::filesystem::path& path)
      : where_(path.string()), bytes_(read_text_file(path, uint64_t{1} << 28)) {
    spec_ = read_sentencepiece_spec(bytes_, where_);
    if (spec_.model != Model::kUnigram && spec_.model != Model::kBpe) {
      refuse("model_type", spec_.model == Model::kWord ? "WORD" : "CHAR", "UNIGRAM or BPE");
    }
    if (!spec_.escape_whitespaces) refuse("escape_whitespaces", "false", "true");
    if (spec_.whitespace_as_suffix) refuse("treat_whitespace_as_suffix", "true", "false");
    if (spec_.has_denormalizer) refuse("denormalizer_spec", "a character map", "none");
  }

  [[nodiscard]] const SentencePieceSpec& spec() const { return spec_; }
  [[nodiscard]] const std::string& where() const { return where_; }
  [[noreturn]] void refuse(std::string_view what, std::string_view got, std::string_view expected) const {
    fail<Unsupported>(where_, "{}: got {}, expected {}.", what, got, expected);
  }

  [[nodiscard]] std::unique_ptr<const TokenModel> model() const {
    std::vector<Vocabulary::Entry> entries;
    for (const auto& piece : spec_.pieces) entries.emplace_back(piece.text, static_cast<TokenId>(entries.size()));
    Vocabulary vocabulary(entries, where_, "pieces");
    const TokenId unknown = find_unknown();
    if (spec_.model == Model::kUnigram) {
      return std::make_unique<Unigram>(std::move(vocabulary),
                                       Unigram::Options{where_, scores<double>(), unknown, spec_.byte_fallback});
    }
    BpeModel model;
    model.file = where_;
    model.vocabulary = std::move(vocabulary);
    model.scores = scores<float>();
    model.unknown = spec_.pieces[static_cast<size_t>(unknown)].text;
    model.fuse_unknown = true;
    model.byte_fallback = spec_.byte_fallback;
    return std::make_unique<Bpe>(std::move(model));
  }

  /// @param prefix whether the normalizer puts a space in front of each stretch
  [[nodiscard]] Normalizer normalizer(bool prefix) const {
    Json json = sentencepiece_normalizer(prefix);
    if (spec_.remove_extra_whitespaces) {
      const auto drop = [](std::string_view pattern, std::string_view content) {
        return Json{{"type", "Replace"}, {"pattern", {{"Regex", pattern}}}, {"content", content}};
      };
      Json& steps = json["normalizers"];
      steps.insert(steps.begin(), {drop(R"(\A +)", ""), drop(" {2,}", " ")});
      steps.push_back(drop(fmt::format(R"((?:{})+\z)", kSpaceMark), ""));  // U+2581 of the text itself included
    }
    Normalizer normalizer(Component(json, where_, "normalizer_spec"));
    if (!spec_.characters_map.empty()) normalizer.put_first(CharactersMap(spec_.characters_map, where_));
    return normalizer;
  }

  [[nodiscard]] std::string_view control(std::string_view piece) const {
    const auto found = std::find_if(spec_.pieces.begin(), spec_.pieces.end(), [&](const auto& candidate) {
      return candidate.text == piece && candidate.type == kControl;
    });
    return found == spec_.pieces.end() ? std::string_view() : found->text;
  }

  /// Pieces that are found as they stand: control and unknown where special tokens are asked for, those that the user
  /// has defined in any text, behind the normalizer, so that they do not begin a new stretch.
  void add_tokens(TokenizerParts& parts) const {
    for (size_t i = 0; i < spec_.pieces.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (spec_.is(i, kControl) || spec_.is(i, kUnknown))
        parts.added.add_special(std::string(spec_.pieces[i].text), id);
      if (!spec_.is(i, kUserDefined) || parts.added.find(id) != nullptr) continue;
      AddedTokens::Token token;
      token.content = token.written = spec_.pieces[i].text;
      token.normalized = true;
      parts.added.add(std::move(token), id, where_);
    }
  }

 private:
  [[nodiscard]] TokenId find_unknown() const {
    for (size_t i = 0; i < spec_.pieces.size(); ++i) {
      if (spec_.is(i, kUnknown)) return static_cast<TokenId>(i);
    }
    fail<FormatError>(where_, "pieces: got none of type UNKNOWN, expected one.");
  }

  /// Of the pieces that text is put together from.
  template <typename T>
  [[nodiscard]] std::vector<T> scores() const {
    std::vector<T> scores;
    for (const auto& piece : spec_.pieces) {
      scores.push_back(piece.type == kNormal ? static_cast<T>(piece.score) : -std::numeric_limits<T>::infinity());
    }
    return scores;
  }

  std::string where_, bytes_;
  SentencePieceSpec spec_;
};

}  // namespace

TokenizerParts read_sentencepiece(const std::filesystem::path& dir) {
  const Json config_json = read_json_or_empty(dir / "tokenizer_config.json");
  const Component config(config_json, (dir / "tokenizer_config.json").string(), "");
  check_class(config);
  const SentencePieceFile file(dir / "tokenizer.model");
  const SentencePieceSpec& spec = file.spec();
  const bool legacy = config.flag("legacy", true);
  const bool prefix = spec.add_dummy_prefix && config.flag("add_prefix_space", true);
  if (!legacy && prefix && spec.remove_extra_whitespaces) {
    file.refuse("remove_extra_whitespaces", "true with `legacy: false`", "false");
  }
  TokenizerParts parts;
  if (!legacy && prefix) {
    const Json metaspace = {
        {"type", "Metaspace"}, {"replacement", kSpaceMark}, {"prepend_scheme", "first"}, {"split", false}};
    parts.pre_tokenizer = PreTokenizer(Component(metaspace, file.where(), "legacy"));
  }
  const Json decoder = sentencepiece_decoder(prefix);
  parts.decoder = TokenDecoder(Component(decoder, file.where(), "decoder"));
  parts.model = file.model();
  const std::string_view bos = file.control(spec.bos);
  // The normalizer comes later: added tokens are cut out of the text as it stands.
  read_added_tokens(dir, config, {bos, file.control(spec.eos), !bos.empty(), true}, parts);
  parts.normalizer = file.normalizer(legacy && prefix);
  file.add_tokens(parts);
  return parts;
}

}  // namespace scalebits
