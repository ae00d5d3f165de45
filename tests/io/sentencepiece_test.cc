// SPDX-License-Identifier: Apache-2.0
/// tokenizer.model, against the sentencepiece package and transformers (tools/golden/sentencepiece_golden.py).
#include <gmock/gmock.h>

#include "scalebits/base/errors.h"
#include "scalebits/io/sentencepiece_spec.h"
#include "tests/io/error_text.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;
using Ids = std::vector<TokenId>;

std::filesystem::path golden_dir() { return test::source_dir() / "tests/io/golden"; }

Tokenizer load(const std::string& model, const std::string& config) {
  const test::TempDir dir;
  write_text_file(dir / "tokenizer.model", model);
  if (!config.empty()) write_text_file(dir / "tokenizer_config.json", config);
  return Tokenizer(dir.path());
}

std::string model_file(const std::string& name) { return read_text_file(golden_dir() / name); }

void check(const Tokenizer& tokenizer, const Json& rows, const std::string& name) {
  for (const Json& row : rows)
    EXPECT_EQ(tokenizer.encode(row[0].get<std::string>()), row[1].get<Ids>()) << name << row[0];
}

std::string config_with_sep(TokenId id, const std::string& more) {
  return R"({"tokenizer_class": "LlamaTokenizer", )" + more + R"("added_tokens_decoder": {")" + std::to_string(id) +
         R"(": {"content": "<sep>", "special": false, "normalized": false}}})";
}

TEST(SentencePiece, GivesTheIdsOfThePackage) {
  const Json file = read_json(golden_dir() / "sentencepiece.json");
  ASSERT_EQ(file["models"].size(), 4U);
  for (const Json& row : file["models"]) {
    const auto name = row["model"].get<std::string>();
    const std::string model = model_file(name);
    const Tokenizer alone = load(model, "");
    check(alone, row["plain"], name + ": ");
    const auto size = static_cast<TokenId>(alone.vocab_size());
    check(load(model, config_with_sep(size, "")), row["legacy"], name + ", legacy: ");
  }
}

TEST(SentencePiece, WithoutLegacyOnlyTheBeginningGetsASpaceAsInTransformers) {
  const Json row = read_json(golden_dir() / "sentencepiece.json")["models"][0];
  const Tokenizer tokenizer = load(model_file("sentencepiece_bpe.model"), config_with_sep(420, R"("legacy": false, )"));
  ASSERT_GE(row["not legacy"].size(), 12U);
  check(tokenizer, row["not legacy"], "not legacy: ");
}

TEST(SentencePiece, DecodesWhatItEncodes) {
  const Tokenizer tokenizer = load(model_file("sentencepiece_bpe.model"), "");
  for (const std::string text : {"", "a", " the  whale ", "\n\u65e5\u672c \U0001f642", "[U]x"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(SentencePiece, WithoutADummyPrefixDecodesWhatItEncodes) {
  const Tokenizer tokenizer = load(model_file("sentencepiece_gemma.model"), R"({"tokenizer_class": "GemmaTokenizer"})");
  for (const std::string text : {"", "a", " the   whale ", "\n\n\n<b>\u65e5 \U0001f642", "     x"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  EXPECT_EQ(tokenizer.id_to_token(*tokenizer.bos()), "<bos>");
  EXPECT_EQ(tokenizer.id_to_token(*tokenizer.eos()), "<eos>");
}

/// The slow tokenizers of transformers cut added tokens out of the text as it stands, whatever `normalized` says.
TEST(SentencePiece, AddedTokensAreCutOutBeforeTheNormalizer) {
  const std::string decoder = R"({"added_tokens_decoder": {"420": {"content": "a b", "normalized": true}}})";
  const Tokenizer tokenizer = load(model_file("sentencepiece_bpe.model"), decoder);
  const Tokenizer plain = load(model_file("sentencepiece_bpe.model"), "");
  Ids expected = plain.encode("the");
  expected.push_back(420);
  for (const TokenId id : plain.encode("sea")) expected.push_back(id);
  EXPECT_EQ(tokenizer.encode("thea bsea"), expected);
}

TEST(SentencePiece, ControlTokensAreSpecialAndFoundOnlyWhereAskedFor) {
  const Tokenizer tokenizer = load(model_file("sentencepiece_bpe.model"), "");
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_TRUE(tokenizer.add_bos());
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_EQ(tokenizer.encode("<s>").size(), 1U);
  EXPECT_GT(tokenizer.encode("<s>", false).size(), 1U);
  const Tokenizer other =
      load(model_file("sentencepiece_bpe.model"), R"({"bos_token": "<ctl>", "add_bos_token": false})");
  EXPECT_EQ(other.id_to_token(*other.bos()), "<ctl>");
  EXPECT_FALSE(other.add_bos());
}

TEST(SentencePiece, OtherClassesAndOptionsAreRefusedByName) {
  const std::string bpe = model_file("sentencepiece_bpe.model");
  EXPECT_THAT(error_text<Unsupported>([&] { load(bpe, R"({"tokenizer_class": "T5Tokenizer"})"); }),
              HasSubstr("tokenizer_class: got \"T5Tokenizer\", expected LlamaTokenizer"));
  EXPECT_THAT(error_text<Unsupported>([&] { load(model_file("sentencepiece_unigram.model"), R"({"legacy": false})"); }),
              HasSubstr("remove_extra_whitespaces: got true"));
  // A second spec is merged with the first: normalizer_spec (3), trainer_spec (2), denormalizer_spec (5).
  const std::vector<std::pair<std::string, const char*>> cases = {
      {std::string("\x1a\x02\x28\x00", 4), "escape_whitespaces: got false"},
      {std::string("\x12\x03\xc0\x01\x01", 5), "treat_whitespace_as_suffix: got true"},
      {std::string("\x12\x02\x18\x03", 4), "model_type: got WORD, expected UNIGRAM or BPE"},
      {std::string("\x12\x02\x18\x04", 4), "model_type: got CHAR"},
      {std::string("\x2a\x03\x12\x01\x61", 5), "denormalizer_spec: got a character map"}};
  for (const auto& [spec, expected] : cases) {
    EXPECT_THAT(error_text<Unsupported>([&] { load(bpe + spec, ""); }), HasSubstr(expected));
  }
}

TEST(SentencePiece, MalformedModelsAreRefused) {
  const std::string bpe = model_file("sentencepiece_bpe.model");
  for (const size_t length : {size_t{1}, size_t{2}, size_t{100}, bpe.size() - 1}) {
    EXPECT_THAT(error_text<FormatError>([&] { load(bpe.substr(0, length), ""); }), HasSubstr("tokenizer.model"));
  }
  EXPECT_THAT(error_text<FormatError>([&] { load("", ""); }), HasSubstr("pieces: got none in 0 bytes"));
  EXPECT_THAT(error_text<FormatError>([&] { load("not a model", ""); }), HasSubstr("protocol buffer"));
  EXPECT_THAT(error_text<FormatError>([&] { load(std::string(20, '\xff'), ""); }), HasSubstr("more than 64 bits"));
}

/// A model of one piece, whose fields are `fields`.
std::string one_piece(const std::string& fields) {
  return std::string{'\n', static_cast<char>(fields.size())} + fields;
}

TEST(SentencePiece, PiecesThatNoModelHasAreRefused) {
  const std::string unknown = one_piece("\n\x01?\x18\x02");
  EXPECT_EQ(load(unknown, "").vocab_size(), 1);
  const std::vector<std::pair<std::string, const char*>> cases = {
      {one_piece("\n\x01"
                 "a"),
       "pieces: got none of type UNKNOWN"},
      {unknown + unknown, "pieces: got the token \"?\" twice"},
      {unknown + one_piece("\n\x01\xff"), "pieces[1]: got"},
      {unknown + one_piece(""), "an empty token with id 1"},
      {one_piece("\n\x01?\x18\x07"), "type of a piece: got 7, expected 1 to 6"},
      {one_piece(std::string("\n\x01?\x15\x00\x00\xc0\x7f", 8)), "pieces[0].score: got nan"},
      {one_piece("\n\x01?\x10\x01"), "got 0 bytes in field 2, expected 4"},
      {unknown + std::string("\x12\x02\x18\x09", 4), "trainer_spec.model_type: got 9"}};
  for (const auto& [model, expected] : cases) {
    EXPECT_THAT(error_text<FormatError>([&, &model = model] { load(model, ""); }), HasSubstr(expected));
  }
}

TEST(SentencePieceSpec, ReadsOptionsAndPieces) {
  const std::string file = model_file("sentencepiece_bpe.model");
  const SentencePieceSpec bpe = read_sentencepiece_spec(file, "x");
  EXPECT_EQ(bpe.model, SentencePieceSpec::Model::kBpe);
  EXPECT_TRUE(bpe.add_dummy_prefix);
  EXPECT_FALSE(bpe.remove_extra_whitespaces);
  EXPECT_TRUE(bpe.byte_fallback);
  ASSERT_EQ(bpe.pieces.size(), 420U);
  EXPECT_EQ(bpe.pieces[4].text, "[U]");
  EXPECT_TRUE(bpe.is(4, kUserDefined));
  EXPECT_TRUE(bpe.is(0, kUnknown));
  EXPECT_TRUE(bpe.is(1, kControl));
  const std::string other = model_file("sentencepiece_unigram.model");
  const SentencePieceSpec unigram = read_sentencepiece_spec(other, "x");
  EXPECT_EQ(unigram.model, SentencePieceSpec::Model::kUnigram);
  EXPECT_TRUE(unigram.remove_extra_whitespaces);
  EXPECT_FALSE(unigram.characters_map.empty());
}

}  // namespace
}  // namespace scalebits
