// SPDX-License-Identifier: Apache-2.0
/// The vocabulary of a GGUF file. What llama.cpp's tokenizer does is put in the words of a tokenizer.json:
///   gpt2   byte-level BPE by `merges`, cut by the pre-tokenizer that `tokenizer.ggml.pre` names; no normalizer, also
///          where the model's own tokenizer.json has NFC
///   llama  SentencePiece's BPE by `scores`: spaces become U+2581, one is put before each stretch of text, what cannot
///          be spelled falls back to byte tokens
/// User-defined tokens are found in any text, control tokens only where special tokens are asked for.
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <unordered_map>

#include "scalebits/base/errors.h"
#include "scalebits/io/bpe.h"
#include "scalebits/io/bpe_patterns.h"
#include "scalebits/io/gguf.h"
#include "scalebits/io/sentencepiece_spec.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer_parts.h"

namespace scalebits {
namespace {

constexpr std::string_view kModel = "tokenizer.ggml.model";
constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kPre = "tokenizer.ggml.pre";

class GgufVocabulary {
 public:
  explicit GgufVocabulary(const std::filesystem::path& path) : file_(path) {}

  TokenizerParts read() {
    const auto kind = file_.text(kModel);
    if (!kind) file_.malformed(kModel, "no such key", "gpt2 or llama");
    read_tokens();
    TokenizerParts parts;
    if (*kind == "gpt2") {
      read_byte_level(parts);
    } else if (*kind == "llama") {
      read_sentencepiece(parts);
    } else {
      fail<Unsupported>(file_.where(), "{}: got {}, expected gpt2 or llama.", kModel, quote(*kind));
    }
    add_tokens(parts);
    find_ends(parts);
    return parts;
  }

 private:
  void read_tokens() {
    auto texts = file_.texts(kTokens);
    if (!texts) file_.malformed(kTokens, "no such key", "an array of string");
    tokens_ = std::move(*texts);
    if (tokens_.empty() || tokens_.size() > static_cast<size_t>(kMaxTokenId)) {
      file_.malformed(kTokens, fmt::format("{} of them", tokens_.size()), fmt::format("1 to {}", kMaxTokenId));
    }
    types_ = file_.integers(kTypes).value_or(std::vector<int32_t>(tokens_.size(), kNormal));
    if (types_.size() != tokens_.size()) {
      file_.malformed(kTypes, fmt::format("{} of them", types_.size()), fmt::format("{}, as tokens", tokens_.size()));
    }
  }

  [[nodiscard]] Vocabulary vocabulary() const {
    std::vector<Vocabulary::Entry> entries;
    for (size_t id = 0; id < tokens_.size(); ++id) entries.emplace_back(tokens_[id], static_cast<TokenId>(id));
    return {entries, file_.where(), kTokens};
  }

  [[nodiscard]] Component component(const Json& json, std::string_view key) const {
    return {json, file_.where(), std::string(key)};
  }

  /// The pre-tokenizer by its name; files from before there were names say only what model they are of.
  [[nodiscard]] GgufPreTokenizer pre_tokenizer() const {
    const auto name = file_.text(kPre);
    const std::string_view architecture = file_.text("general.architecture").value_or("");
    if (!name) {
      constexpr std::array<std::string_view, 3> kWithGpt2Pattern = {"gpt2", "gptneox", "mpt"};
      if (std::count(kWithGpt2Pattern.begin(), kWithGpt2Pattern.end(), architecture) > 0) return {BpePattern::kGpt2};
      fail<Unsupported>(
          file_.where(),
          "{}: missing, expected the name of a pre-tokenizer, as the architecture is {}. The file is old: "
          "convert the model again.",
          kPre, quote(architecture));
    }
    const auto found = find_gguf_pre_tokenizer(*name);
    if (!found) {
      fail<Unsupported>(file_.where(),
                        "{}: got {}, expected a pre-tokenizer that is implemented (gpt-2, llama-bpe, "
                        "qwen2, smollm and others).",
                        kPre, quote(*name));
    }
    return *found;
  }

  void read_byte_level(TokenizerParts& parts) {
    const GgufPreTokenizer pre = pre_tokenizer();
    const Json pre_json = bpe_pre_tokenizer(pre.pattern);
    const Json decoder = {{"type", "ByteLevel"}};
    parts.pre_tokenizer = PreTokenizer(component(pre_json, kPre));
    parts.decoder = TokenDecoder(component(decoder, kModel));
    parts.add_bos = pre.add_bos;
    const auto merges = file_.texts(kMerges);
    if (!merges) file_.malformed(kMerges, "no such key", "an array of string");
    BpeModel model;
    model.file = file_.where();
    model.merges_key = kMerges;
    model.vocabulary = vocabulary();
    model.byte_level = true;
    model.ignore_merges = pre.ignore_merges;
    model.merges.reserve(merges->size());
    for (const std::string_view merge : *merges) {
      const size_t space = merge.find(' ', 1);
      if (space == std::string_view::npos) {
        file_.malformed(fmt::format("{}[{}]", kMerges, model.merges.size()), quote(merge),
                        "two tokens with a space between");
      }
      model.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    }
    parts.model = std::make_unique<Bpe>(std::move(model));
  }

  void read_sentencepiece(TokenizerParts& parts) {
    const bool prefix = file_.flag("tokenizer.ggml.add_space_prefix").value_or(true);
    const Json normalizer = sentencepiece_normalizer(prefix);
    parts.normalizer = Normalizer(component(normalizer, kModel));
    const Json decoder = sentencepiece_decoder(prefix);
    parts.decoder = TokenDecoder(component(decoder, kModel));
    parts.add_bos = true;
    if (last_id() >= 2) parts.bos = 1, parts.eos = 2;  // where SentencePiece has them; the file may say otherwise
    BpeModel model;
    model.file = file_.where();
    model.vocabulary = vocabulary();
    model.byte_fallback = true;
    model.scores = scores();
    const auto unknown = file_.integer("tokenizer.ggml.unknown_token_id", 0, last_id()).value_or(0);
    model.unknown = tokens_[static_cast<size_t>(unknown)];
    parts.model = std::make_unique<Bpe>(std::move(model));
  }

  /// Scores of the tokens that merges make. llama.cpp lets any text merge into any token; here a control token never
  /// comes out of plain text, as with SentencePiece itself.
  [[nodiscard]] std::vector<float> scores() const {
    auto scores = file_.floats(kScores);
    if (!scores) file_.malformed(kScores, "no such key", "an array of f32");
    if (scores->size() != tokens_.size()) {
      file_.malformed(kScores, fmt::format("{} of them", scores->size()), fmt::format("{}, as tokens", tokens_.size()));
    }
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (!std::isfinite((*scores)[id])) {
        file_.malformed(fmt::format("{}[{}]", kScores, id), std::to_string((*scores)[id]), "a finite number");
      }
      if (types_[id] != kNormal && types_[id] != kUserDefined && types_[id] != kUnused) (*scores)[id] = -INFINITY;
    }
    return *scores;
  }

  void add_tokens(TokenizerParts& parts) const {
    // These have it in their tokenizer.json, GGUF has no place for it: white space behind such a token is dropped.
    std::string name(file_.text("general.name").value_or(""));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    const bool phi3 = name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (types_[id] != kControl && types_[id] != kUnknown && types_[id] != kUserDefined) continue;
      AddedTokens::Token token;
      token.content = token.written = tokens_[id];
      token.special = types_[id] != kUserDefined;
      token.rstrip = phi3 && token.content != "<unk>" && token.content != "<s>" && token.content != "<|endoftext|>";
      parts.added.add(std::move(token), static_cast<TokenId>(id), file_.where());
    }
  }

  void find_ends(TokenizerParts& parts) const {
    const auto token = [&](std::string_view key, std::optional<TokenId>& end) {
      if (const auto id = file_.integer(key, 0, last_id())) end = static_cast<TokenId>(*id);
    };
    token("tokenizer.ggml.bos_token_id", parts.bos);
    token("tokenizer.ggml.eos_token_id", parts.eos);
    for (const auto& end : {parts.bos, parts.eos}) {
      if (end) parts.added.add_special(std::string(tokens_[static_cast<size_t>(*end)]), *end);
    }
    parts.add_bos = file_.flag("tokenizer.ggml.add_bos_token").value_or(parts.add_bos);
    if (parts.add_bos && !parts.bos) {
      file_.malformed("tokenizer.ggml.bos_token_id", "no such key", "a token, as BOS goes before each text");
    }
  }

  [[nodiscard]] int64_t last_id() const { return static_cast<int64_t>(tokens_.size()) - 1; }

  GgufFile file_;
  std::vector<std::string_view> tokens_;
  std::vector<int32_t> types_;
};

}  // namespace

TokenizerParts read_gguf_vocabulary(const std::filesystem::path& file) { return GgufVocabulary(file).read(); }

}  // namespace scalebits
