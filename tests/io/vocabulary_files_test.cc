// SPDX-License-Identifier: Apache-2.0
/// Directories with vocab.json and merges.txt. The vectors of real ones are in tokenizer_golden_test.cc.
#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;
using Ids = std::vector<TokenId>;

class VocabularyFiles : public testing::Test {
 protected:
  VocabularyFiles() {
    write("vocab.json",
          R"({"a": 0, "b": 1, "ab": 2, "1": 3, "11": 4, "\u00c3": 5, "\u00a9": 6, "\u00c3\u00a9": 7, "e": 8,
                            "\u00cc": 9, "\u0123": 10, "<|endoftext|>": 11, "\u0120": 12})");
    write("merges.txt", "#version: 0.2\na b\n1 1\n\u00c3 \u00a9\n");
  }
  void write(const std::string& name, const std::string& text) { write_text_file(dir_ / name, text); }
  Tokenizer load() const { return Tokenizer(dir_.path()); }
  template <class E>
  std::string refusal() {
    return error_text<E>([&] { load(); });
  }
  test::TempDir dir_;
};

TEST_F(VocabularyFiles, AloneAreGpt2s) {
  const Tokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.encode("ab11<|endoftext|>"), (Ids{2, 4, 11}));
  EXPECT_EQ(tokenizer.encode("e\u0301"), (Ids{8, 9, 10}));  // no normalizer: as two characters
  EXPECT_EQ(tokenizer.bos(), 11);
  EXPECT_EQ(tokenizer.eos(), 11);
  EXPECT_FALSE(tokenizer.add_bos());
  EXPECT_TRUE(tokenizer.is_special(11));
}

TEST_F(VocabularyFiles, TheClassDecidesAboutNormalizerAndPattern) {
  for (const char* config :
       {R"({"tokenizer_class": "Qwen2Tokenizer"})", R"({"tokenizer_class": "Qwen2TokenizerFast"})"}) {
    write("tokenizer_config.json", config);
    const Tokenizer tokenizer = load();
    EXPECT_EQ(tokenizer.encode("ab11"), (Ids{2, 3, 3}));
    EXPECT_EQ(tokenizer.encode("e\u0301"), (Ids{7}));
    EXPECT_EQ(tokenizer.bos(), std::nullopt);
    EXPECT_EQ(tokenizer.eos(), 11);
  }
  write("tokenizer_config.json", "{}");
  write("config.json", R"({"model_type": "qwen2"})");
  EXPECT_EQ(load().encode("11"), (Ids{3, 3}));
}

TEST_F(VocabularyFiles, AddedTokensAreThoseOfTheConfigWithTheirProperties) {
  write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true, "eos_token": "<end>",
        "added_tokens_decoder": {"13": {"content": "<end>", "special": true, "lstrip": true, "normalized": false},
                                 "14": {"content": "[x]", "special": false}}})");
  write("added_tokens.json", R"({"<other>": 15})");  // not read beside the above
  const Tokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.encode("a  <end>[x]"), (Ids{12, 0, 13, 14}));
  EXPECT_EQ(tokenizer.eos(), 13);
  EXPECT_EQ(tokenizer.decode(Ids{0, 13, 14}), "a[x]");
  EXPECT_EQ(tokenizer.token_to_id("<other>"), std::nullopt);
}

TEST_F(VocabularyFiles, AddedTokensOfOlderDirectoriesAreSpecialWhereTheyHaveARole) {
  write("added_tokens.json", R"({"<end>": 13, "[x]": 14, "<more>": 15})");
  write("special_tokens_map.json", R"({"eos_token": {"content": "<end>"}, "additional_special_tokens": ["<more>"]})");
  const Tokenizer tokenizer = load();
  EXPECT_TRUE(tokenizer.is_special(13));
  EXPECT_FALSE(tokenizer.is_special(14));
  EXPECT_TRUE(tokenizer.is_special(15));
  EXPECT_EQ(tokenizer.encode("a[x]<end>"), (Ids{0, 14, 13}));
  EXPECT_EQ(tokenizer.eos(), 13);
}

TEST_F(VocabularyFiles, TokenizerJsonWins) {
  write("tokenizer.json", test::small_tokenizer().dump());
  EXPECT_EQ(load().encode("abc"), (Ids{7}));
}

TEST_F(VocabularyFiles, OtherClassesAreRefusedByName) {
  write("tokenizer_config.json", R"({"tokenizer_class": "RobertaTokenizer"})");
  EXPECT_THAT(refusal<Unsupported>(),
              HasSubstr("tokenizer_class: got \"RobertaTokenizer\", expected GPT2Tokenizer or"));
  write("tokenizer_config.json", "{}");
  write("config.json", R"({"model_type": "bart"})");
  EXPECT_THAT(refusal<Unsupported>(), HasSubstr("config.json] model_type: got \"bart\""));
}

TEST_F(VocabularyFiles, MalformedFilesAreRefusedByPlace) {
  for (const char* line : {"ab", "a b c", " b", "a "}) {
    write("merges.txt", std::string("a b\n") + line + "\n");
    EXPECT_THAT(refusal<FormatError>(), HasSubstr("merges.txt:2] merge: got")) << line;
  }
  write("merges.txt", "a b\r\nb a\n");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("merges.txt[1]: got the merge of \"b\" and \"a\", expected \"ba\""));
  write("merges.txt", "a b\n#version 2\n");  // a header is the first line only
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("expected \"#version\" to be in the vocabulary"));
  write("merges.txt", "# b\n");  // a merge, no comment
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("expected \"#\" to be in the vocabulary"));
  write("merges.txt", "");
  write("vocab.json", R"({"a": "b"})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("vocab.json] vocabulary[\"a\"]: got \"b\""));
  write("vocab.json", R"({"a": 0})");
  for (const char* key : {"x", "-1", "1x", "16777216", ""}) {
    write("tokenizer_config.json", std::string(R"({"added_tokens_decoder": {")") + key + R"(": {"content": "<x>"}}})");
    EXPECT_THAT(refusal<FormatError>(), HasSubstr("added_tokens_decoder: got the key")) << key;
  }
  write("tokenizer_config.json", R"({"added_tokens_decoder": {"0": {"content": "<x>"}}})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("added_tokens_decoder[\"0\"]: got \"<x>\" with id 0"));
  write("tokenizer_config.json", R"({"eos_token": "<none>"})");
  EXPECT_THAT(refusal<FormatError>(), HasSubstr("eos_token: got \"<none>\", expected a token of the vocabulary"));
}

}  // namespace
}  // namespace scalebits
