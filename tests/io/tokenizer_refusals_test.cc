// SPDX-License-Identifier: Apache-2.0
/// tokenizer.json files that are wrong, hostile, or ask for what we do not have: each is refused by name.
#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

using test::error_text;
using test::load_tokenizer;
using test::small_tokenizer;
using testing::HasSubstr;

/// The message for the small tokenizer with one part replaced; `part` is a JSON pointer.
template <class E>
std::string refusal(const std::string& part, const std::string& value) {
  Json json = small_tokenizer();
  json[Json::json_pointer(part)] = parse_json(value, "test");
  return error_text<E>([&] { load_tokenizer(json.dump()); });
}

TEST(TokenizerRefusals, APlaceWithoutATokenizerIsRefusedWithWhatIsExpected) {
  const test::TempDir dir;
  EXPECT_THAT(error_text<FormatError>([&] { Tokenizer tokenizer(dir.path()); }),
              HasSubstr("got a directory without one, expected a directory with a tokenizer.json,"));
  write_text_file(dir / "x.bin", "x");
  EXPECT_THAT(error_text<FormatError>([&] { Tokenizer tokenizer(dir / "x.bin"); }),
              HasSubstr("a file of another kind"));
  EXPECT_THAT(error_text<IoError>([&] { Tokenizer tokenizer(dir / "missing"); }), HasSubstr("no such file"));
}

TEST(TokenizerRefusals, UnknownComponentsAreRefusedByName) {
  EXPECT_THAT(refusal<Unsupported>("/model/type", R"("WordPiece")"),
              HasSubstr("model.type: got \"WordPiece\", expected BPE or Unigram"));
  EXPECT_THAT(refusal<Unsupported>("/normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "AA"})"),
              HasSubstr("normalizer: got \"Precompiled\""));
  EXPECT_THAT(
      refusal<Unsupported>("/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]})"),
      HasSubstr("normalizer.normalizers[1]: got \"Nmt\""));
  EXPECT_THAT(refusal<Unsupported>("/pre_tokenizer", R"({"type": "BertPreTokenizer"})"),
              HasSubstr("got \"BertPreTokenizer\""));
  EXPECT_THAT(refusal<Unsupported>("/decoder", R"({"type": "WordPiece"})"), HasSubstr("got \"WordPiece\""));
  EXPECT_THAT(refusal<Unsupported>("/model/dropout", "0.1"), HasSubstr("model.dropout: got \"0.1\", expected none"));
  EXPECT_THAT(refusal<Unsupported>("/model/end_of_word_suffix", R"("</w>")"),
              HasSubstr("end_of_word_suffix: got \"</w>\""));
  EXPECT_THAT(refusal<Unsupported>("/version", R"("2.0")"), HasSubstr("version: got \"2.0\", expected 1.0"));
}

TEST(TokenizerRefusals, UnknownOptionsAreRefusedByName) {
  EXPECT_THAT(refusal<Unsupported>("/pre_tokenizer",
                                   R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Sideways"})"),
              HasSubstr("pre_tokenizer.behavior: got \"Sideways\""));
  EXPECT_THAT(refusal<Unsupported>("/pre_tokenizer",
                                   R"({"type": "Split", "pattern": {"Regex": "\\b"}, "behavior": "Isolated"})"),
              HasSubstr("tokenizer.json: pre_tokenizer.pattern] pattern: got the escape"));
  EXPECT_THAT(refusal<Unsupported>("/pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel",
                                   "add_prefix_space": true}, {"type": "Digits"}]})"),
              HasSubstr("pretokenizers[1]: got \"Digits\", expected ByteLevel to be the last step"));
  EXPECT_THAT(
      refusal<Unsupported>("/pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "x"})"),
      HasSubstr("prepend_scheme: got \"x\""));
  EXPECT_THAT(refusal<Unsupported>("/decoder",
                                   R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]})"),
              HasSubstr("decoders[1]: got \"ByteFallback\", expected the order"));
  EXPECT_THAT(refusal<Unsupported>("/decoder", R"({"type": "Strip", "content": " ", "start": 0, "stop": 1})"),
              HasSubstr(".stop"));
}

TEST(TokenizerRefusals, VocabularyIdsAreCheckedOneByOne) {
  EXPECT_THAT(refusal<FormatError>("/model/vocab/a", "-1"),
              HasSubstr("model.vocab[\"a\"]: got -1, expected an integer in [0, 16777215]"));
  EXPECT_THAT(refusal<FormatError>("/model/vocab/a", "16777216"), HasSubstr("got 16777216"));
  EXPECT_THAT(refusal<FormatError>("/model/vocab/a", "18446744073709551615"), HasSubstr("got 18446744073709551615"));
  EXPECT_THAT(refusal<FormatError>("/model/vocab/a", "1.0"), HasSubstr("got 1.0"));
  EXPECT_THAT(refusal<FormatError>("/model/vocab/a", "1"),
              HasSubstr("got id 1 for \"a\" and for \"b\", expected one token per id"));
  EXPECT_THAT(refusal<FormatError>("/model/vocab", R"({"a": 0, "": 1})"), HasSubstr("empty token with id 1"));
  EXPECT_THAT(refusal<FormatError>("/model/vocab", "{}"), HasSubstr("model.vocab: got object of 0"));
  EXPECT_THAT(refusal<FormatError>("/model/vocab", R"({")" + std::string(70'000, 'a') + R"(": 0})"),
              HasSubstr("at most 65536 bytes"));
  EXPECT_THAT(refusal<FormatError>("/model", "null"), HasSubstr("model: missing"));
}

TEST(TokenizerRefusals, MergesMustNameTokens) {
  EXPECT_THAT(refusal<FormatError>("/model/merges", R"(["a b", "a z"])"),
              HasSubstr("model.merges[1]: got the merge of \"a\" and \"z\", expected \"z\" to be in"));
  EXPECT_THAT(refusal<FormatError>("/model/merges", R"(["b a"])"),
              HasSubstr("expected \"ba\" to be in the vocabulary"));
  EXPECT_THAT(refusal<FormatError>("/model/merges", R"(["ab"])"), HasSubstr("two tokens with a space between"));
  EXPECT_THAT(refusal<FormatError>("/model/merges", R"(["a b c"])"), HasSubstr("two tokens with a space between"));
  EXPECT_THAT(refusal<FormatError>("/model/merges", R"([["a"]])"), HasSubstr("a pair of tokens"));
  EXPECT_THAT(refusal<FormatError>("/model/merges", "7"), HasSubstr("model.merges: got 7, expected an array of pairs"));
}

TEST(TokenizerRefusals, UnigramsNeedPairsAndAnUnknownTokenWhereOneIsNeeded) {
  Json json = small_tokenizer();
  json["pre_tokenizer"] = nullptr;
  json.erase("added_tokens");
  const auto with = [&](const std::string& vocab, const std::string& more = "") {
    json["model"] = parse_json(R"({"type": "Unigram", "vocab": )" + vocab + more + "}", "test");
    return json.dump();
  };
  EXPECT_EQ(load_tokenizer(with(R"([["a", -1], ["b", -2.5], ["ab", -3]])")).encode("ab"), (std::vector<TokenId>{2}));
  for (const char* vocab : {"[]", R"(["a"])", R"([["a"]])", R"([[1, 1]])", R"([["a", "1"]])", R"({"a": 1})"}) {
    EXPECT_THAT(error_text<FormatError>([&] { load_tokenizer(with(vocab)); }), HasSubstr("model.vocab")) << vocab;
  }
  EXPECT_THAT(error_text<FormatError>([&] { load_tokenizer(with(R"([["a", 0]])", R"(, "unk_id": 1)")); }),
              HasSubstr("model.unk_id: got 1"));
  const Tokenizer bare = load_tokenizer(with(R"([["a", 0]])"));
  EXPECT_THAT(error_text<FormatError>([&] { static_cast<void>(bare.encode("ax")); }),
              HasSubstr("model.unk_id: missing, expected one, as there is no token for \"x\""));
  json["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  EXPECT_THAT(error_text<Unsupported>([&] { load_tokenizer(with(R"([["a", 0]])")); }),
              HasSubstr("model.type: got \"Unigram\", expected BPE behind"));
}

TEST(TokenizerRefusals, AddedTokensMustAgreeWithTheVocabulary) {
  const auto one = [](const std::string& id, const std::string& content) {
    return R"([{"special": true, "id": )" + id + R"(, "content": )" + content + "}]";
  };
  EXPECT_THAT(refusal<FormatError>("/added_tokens", one("3", R"("abc")")),
              HasSubstr("added_tokens[0]: got \"abc\" with id 3"));
  EXPECT_THAT(refusal<FormatError>("/added_tokens", one("3", R"("<x>")")),
              HasSubstr("added_tokens[0]: got \"<x>\" with id 3"));
  EXPECT_THAT(refusal<FormatError>("/added_tokens", one("-3", R"("<x>")")), HasSubstr("added_tokens[0].id: got -3"));
  EXPECT_THAT(refusal<FormatError>("/added_tokens", one("9", "null")), HasSubstr("added_tokens[0].content: missing"));
  EXPECT_THAT(refusal<FormatError>("/added_tokens/1/content", R"("<s>")"), HasSubstr("beside another"));
  EXPECT_THAT(refusal<FormatError>("/added_tokens/1/id", "8"), HasSubstr("beside another"));
}

TEST(TokenizerRefusals, PatternsThatExplodeEndInAnError) {
  Json json = small_tokenizer();
  json["pre_tokenizer"] = parse_json(
      R"({"type": "Split", "pattern": {"Regex": "(?:a|aa)+$"}, "behavior": "Isolated", "invert": false})", "test");
  const Tokenizer tokenizer = load_tokenizer(json.dump());
  EXPECT_THAT(error_text<FormatError>([&] { static_cast<void>(tokenizer.encode(std::string(60, 'a') + "b")); }),
              HasSubstr("pre_tokenizer.pattern] pattern: gave up on a text of 61 bytes at byte 0"));
}

TEST(TokenizerRefusals, AMissingUnknownTokenIsReportedWhereItIsNeeded) {
  Json json = small_tokenizer();
  json["model"]["unk_token"] = "<unk>";
  const Tokenizer tokenizer = load_tokenizer(json.dump());
  EXPECT_EQ(tokenizer.encode("abc").size(), 1U);
  EXPECT_THAT(error_text<FormatError>([&] { static_cast<void>(tokenizer.encode("xyz")); }),
              HasSubstr("unk_token: got \"<unk>\""));
}

}  // namespace
}  // namespace scalebits
