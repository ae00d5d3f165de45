// SPDX-License-Identifier: Apache-2.0
/// tokenizer.model, against the sentencepiece package and transformers (tools/golden/tokenizer_golden.py).

#include "scalebits/base/errors.h"
#include "scalebits/io/sentencepiece_spec.h"
#include "tests/io/error_text.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::ElementsAre;
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
  ASSERT_EQ(file["models"].size(), 2U);
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
  // A second normalizer_spec is merged with the first: escape_whitespaces (5) = false.
  EXPECT_THAT(error_text<Unsupported>([&] { load(bpe + std::string("\x1a\x02\x28\x00", 4), ""); }),
              HasSubstr("escape_whitespaces: got false"));
}

TEST(SentencePiece, MalformedModelsAreRefused) {
  const std::string bpe = model_file("sentencepiece_bpe.model");
  for (const size_t length : {size_t{1}, size_t{2}, size_t{100}, bpe.size() - 1}) {
    EXPECT_THAT(error_text<FormatError>([&] { load(bpe.substr(0, length), ""); }), HasSubstr("tokenizer.model"));
  }
  EXPECT_THAT(error_text<FormatError>([&] { load("", ""); }), HasSubstr("expected a SentencePiece model"));
  EXPECT_THAT(error_text<FormatError>([&] { load("not a model", ""); }), HasSubstr("protocol buffer"));
  EXPECT_THAT(error_text<FormatError>([&] { load(std::string(20, '\xff'), ""); }), HasSubstr("more than 64 bits"));
}

TEST(SentencePieceSpec, ReadsOptionsAndUserDefinedPieces) {
  const SentencePieceSpec bpe = read_sentencepiece_spec(model_file("sentencepiece_bpe.model"), "x");
  EXPECT_TRUE(bpe.add_dummy_prefix);
  EXPECT_FALSE(bpe.remove_extra_whitespaces);
  EXPECT_THAT(bpe.user_defined, ElementsAre(4));
  EXPECT_TRUE(read_sentencepiece_spec(model_file("sentencepiece_unigram.model"), "x").remove_extra_whitespaces);
}

/// A normalizer_spec (3) that holds a precompiled_charsmap (2): the trie's length, its units, the strings.
std::string with_map(const std::vector<uint32_t>& units, const std::string& strings) {
  const auto length = [](size_t n) {
    return std::string{static_cast<char>(0x80U | (n & 0x7fU)), static_cast<char>(n >> 7)};
  };
  std::string map(4 + 4 * units.size(), '\0');
  const auto bytes = static_cast<uint32_t>(4 * units.size());
  std::memcpy(map.data(), &bytes, 4);
  std::memcpy(map.data() + 4, units.data(), bytes);
  map += strings;
  const std::string spec = "\x12" + length(map.size()) + map;
  return "\x1a" + length(spec.size()) + spec;
}

TEST(SentencePieceSpec, ATrieThatLeadsOutsideOfItselfIsRefused) {
  std::vector<uint32_t> units(256, 0);
  const auto read = [&](const std::string& strings) { return read_sentencepiece_spec(with_map(units, strings), "x"); };
  EXPECT_NO_THROW(read(std::string("a\0", 2)));
  units[7] = 1U << 10 | 1U << 8;  // a leaf at 7 ^ 1
  units[6] = 0x80000001U;
  EXPECT_NO_THROW(read(std::string("a\0", 2)));
  units[6] = 0x80000002U;
  EXPECT_THAT(error_text<FormatError>([&] { read(std::string("a\0", 2)); }),
              HasSubstr("a leaf outside of the strings"));
  units[6] = 0x80000001U;
  units[9] = 256U << 10;
  EXPECT_THAT(error_text<FormatError>([&] { read(std::string("a\0", 2)); }), HasSubstr("a step outside of the trie"));
  units[9] = 0;
  EXPECT_THAT(error_text<FormatError>([&] { read("a"); }), HasSubstr("a string without an end"));
  units.resize(255);
  EXPECT_THAT(error_text<FormatError>([&] { read(std::string("a\0", 2)); }), HasSubstr("a step outside of the trie"));
}

}  // namespace
}  // namespace scalebits
