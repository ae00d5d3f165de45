// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/tokenizer_policy.h"

#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

using test::error_text;
using test::load_tokenizer;
using test::small_tokenizer;
using testing::HasSubstr;

/// A post-processor that puts <s> first.
Json with_template() {
  Json json = small_tokenizer();
  json["post_processor"] = parse_json(
      R"({"type": "Sequence", "processors": [{"type": "ByteLevel", "trim_offsets": false}, {"type": "TemplateProcessing",
          "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "</s>", "type_id": 0}}],
          "special_tokens": {"<s>": {"id": "<s>", "ids": [8], "tokens": ["<s>"]}}}]})",
      "template");
  return json;
}

TEST(TokenizerPolicy, WithoutAnyFileThereIsNoBos) {
  const Tokenizer tokenizer = load_tokenizer(small_tokenizer().dump());
  EXPECT_EQ(tokenizer.bos(), std::nullopt);
  EXPECT_EQ(tokenizer.eos(), std::nullopt);
  EXPECT_FALSE(tokenizer.add_bos());
}

TEST(TokenizerPolicy, TheTemplateDecidesWhereTheConfigIsSilent) {
  const Tokenizer bare = load_tokenizer(with_template().dump());
  EXPECT_EQ(bare.bos(), 8);
  EXPECT_TRUE(bare.add_bos());
  const Tokenizer named = load_tokenizer(small_tokenizer().dump(), R"({"bos_token": "<s>", "eos_token": null})");
  EXPECT_EQ(named.bos(), 8);
  EXPECT_EQ(named.eos(), std::nullopt);
  EXPECT_FALSE(named.add_bos());
}

TEST(TokenizerPolicy, TheConfigOverridesTheTemplate) {
  const std::string off = R"({"bos_token": "<s>", "add_bos_token": false, "eos_token": {"content": "</s>"}})";
  const Tokenizer without = load_tokenizer(with_template().dump(), off);
  EXPECT_EQ(without.bos(), 8);
  EXPECT_EQ(without.eos(), 9);
  EXPECT_FALSE(without.add_bos());
  const std::string on = R"({"bos_token": {"content": "<s>", "lstrip": false}, "add_bos_token": true})";
  EXPECT_TRUE(load_tokenizer(small_tokenizer().dump(), on).add_bos());
}

TEST(TokenizerPolicy, SpecialTokensMapStandsInForAMissingConfig) {
  const test::TempDir dir;
  write_text_file(dir / "tokenizer.json", small_tokenizer().dump());
  write_text_file(dir / "special_tokens_map.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})");
  EXPECT_EQ(Tokenizer(dir.path()).bos(), 8);
  EXPECT_EQ(Tokenizer(dir.path()).eos(), 9);
  write_text_file(dir / "tokenizer_config.json", "{}");
  EXPECT_EQ(Tokenizer(dir.path()).bos(), std::nullopt);
}

TEST(TokenizerPolicy, AVocabularyTokenNamedAsEosIsSpecial) {
  Json json = small_tokenizer();
  const std::string config = R"({"eos_token": "abc"})";
  EXPECT_FALSE(load_tokenizer(json.dump()).is_special(7));
  const Tokenizer tokenizer = load_tokenizer(json.dump(), config);
  EXPECT_EQ(tokenizer.eos(), 7);
  EXPECT_TRUE(tokenizer.is_special(7));
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{0, 7}), "a");
}

TEST(TokenizerPolicy, RefusesTokensThatAreNotThere) {
  const std::string json = small_tokenizer().dump();
  EXPECT_THAT(error_text<FormatError>([&] { load_tokenizer(json, R"({"bos_token": "<bos>"})"); }),
              HasSubstr("bos_token: got \"<bos>\", expected a token of the vocabulary"));
  EXPECT_THAT(error_text<FormatError>([&] { load_tokenizer(json, R"({"add_bos_token": true})"); }),
              HasSubstr("bos_token: missing"));
  EXPECT_THAT(error_text<FormatError>([&] { load_tokenizer(json, R"({"eos_token": 3})"); }),
              HasSubstr("eos_token: got 3, expected the text of a token"));
  EXPECT_THAT(error_text<FormatError>([&] { load_tokenizer(json, R"({"add_bos_token": "yes"})"); }),
              HasSubstr("add_bos_token: got \"yes\", expected true or false"));
  EXPECT_THAT(error_text<FormatError>([&] { load_tokenizer(json, "[]"); }), HasSubstr("expected an object"));
}

TEST(TokenizerPolicy, RefusesATemplateItCannotFollow) {
  EXPECT_THAT(error_text<Unsupported>([&] { load_tokenizer(with_template().dump(), R"({"bos_token": "</s>"})"); }),
              HasSubstr("got \"<s>\", expected the bos_token \"</s>\" before the text"));
  Json two = with_template();
  Json& single = two["post_processor"]["processors"][1]["single"];
  single.insert(single.begin(), single[0]);
  EXPECT_THAT(error_text<Unsupported>([&] { load_tokenizer(two.dump()); }), HasSubstr("one special token before"));
  Json other = small_tokenizer();
  other["post_processor"] = {{"type", "BertProcessing"}};
  EXPECT_THAT(error_text<Unsupported>([&] { load_tokenizer(other.dump()); }),
              HasSubstr("post_processor: got \"BertProcessing\""));
}

}  // namespace
}  // namespace scalebits
