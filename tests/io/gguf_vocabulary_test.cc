// SPDX-License-Identifier: Apache-2.0
/// Tokenizers from GGUF files: by hand-made vocabularies, and against llama.cpp's vectors.
#include "scalebits/base/errors.h"
#include "tests/io/error_text.h"
#include "tests/io/llama_cpp_vectors.h"
#include "tests/io/raw_gguf.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

using test::error_text;
using test::RawGguf;
using testing::HasSubstr;
using Ids = std::vector<TokenId>;

Tokenizer load(const RawGguf& content) {
  const test::TempDir dir;
  write_text_file(dir / "x.gguf", content.file());
  return Tokenizer(dir / "x.gguf");
}

template <class E>
std::string refusal(const RawGguf& content) {
  return error_text<E>([&] { load(content); });
}

RawGguf kind(const std::string& model) { return RawGguf().text("tokenizer.ggml.model", model); }

/// Letters, a space, three merges; <s> is a control token, "cab" a user-defined one.
RawGguf byte_level() {
  return kind("gpt2")
      .texts("tokenizer.ggml.tokens", {"a", "b", "c", "\u0120", "ab", "\u0120ab", "1", "11", "<s>", "cab"})
      .numbers<int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1, 1, 1, 1, 1, 1, 3, 4})
      .texts("tokenizer.ggml.merges", {"a b", "\u0120 ab", "1 1"});
}

/// "ab" and "bc" overlap; "bc" has the better score. <s> is control, [U] user-defined, byte tokens for a, '!' and
/// U+00E9.
RawGguf scored() {
  return kind("llama")
      .texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "<0x21>", "<0xC3>", "<0xA9>", "a", "b", "c", "\u2581",
                                       "ab", "bc", "\u2581a", "[U]", "\u2581\u2581"})
      .numbers<int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4, 1})
      .numbers<float>("tokenizer.ggml.scores", 6, {0, 0, 0, 0, 0, 0, -9, -9, -9, -9, -2, -1, -3, 0, -0.5F});
}

TEST(GgufVocabulary, ByteLevelMergesByRankInsidePieces) {
  const Tokenizer tokenizer = load(byte_level().text("tokenizer.ggml.pre", "gpt-2"));
  EXPECT_EQ(tokenizer.encode("ab ab"), (Ids{4, 5}));
  EXPECT_EQ(tokenizer.encode("111"), (Ids{7, 6}));
  EXPECT_EQ(tokenizer.decode(Ids{4, 5, 8, 7}), "ab ab11");
  EXPECT_EQ(tokenizer.decode(Ids{4, 5, 8, 7}, false), "ab ab<s>11");
  EXPECT_FALSE(tokenizer.add_bos());
}

TEST(GgufVocabulary, ThePreTokenizerIsTheNamedOne) {
  const auto ids = [](const std::string& pre) {
    return load(byte_level().text("tokenizer.ggml.pre", pre).number("tokenizer.ggml.bos_token_id", 8)).encode("111");
  };
  EXPECT_EQ(ids("smollm"), (Ids{6, 6, 6}));  // digits are pieces of their own
  EXPECT_EQ(ids("qwen2"), (Ids{6, 6, 6}));
  EXPECT_EQ(ids("llama-bpe"), (Ids{7, 6}));
  EXPECT_EQ(ids("mpt"), (Ids{7, 6}));
  const Tokenizer llama =
      load(byte_level().text("tokenizer.ggml.pre", "llama-bpe").number("tokenizer.ggml.bos_token_id", 8));
  EXPECT_TRUE(llama.add_bos());
  EXPECT_EQ(llama.bos(), 8);
}

TEST(GgufVocabulary, APieceThatIsATokenIsNotMergedWhereThePreTokenizerSaysSo) {
  // "bc" has no merge, so only llama-bpe (ignore_merges) can give it.
  const auto ids = [](const std::string& pre) {
    return load(kind("gpt2")
                    .texts("tokenizer.ggml.tokens", {"b", "c", "bc", "<s>"})
                    .texts("tokenizer.ggml.merges", {})
                    .number("tokenizer.ggml.bos_token_id", 3)
                    .text("tokenizer.ggml.pre", pre))
        .encode("bc");
  };
  EXPECT_EQ(ids("llama-bpe"), (Ids{2}));
  EXPECT_EQ(ids("gpt-2"), (Ids{0, 1}));
}

TEST(GgufVocabulary, UserDefinedTokensAreFoundInPlainTextAndControlTokensAreNot) {
  const Tokenizer tokenizer = load(byte_level().text("tokenizer.ggml.pre", "gpt-2"));
  EXPECT_EQ(tokenizer.encode("<s>acab", true), (Ids{8, 0, 9}));
  EXPECT_EQ(tokenizer.encode("acab", false), (Ids{0, 9}));
  EXPECT_EQ(tokenizer.encode("a<s>", false), (Ids{0}));  // this vocabulary cannot spell "<s>"
  EXPECT_TRUE(tokenizer.is_special(8));
  EXPECT_FALSE(tokenizer.is_special(9));
}

TEST(GgufVocabulary, SentencePieceMergesByScoreThenFromTheLeft) {
  const Tokenizer tokenizer = load(scored());
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{12, 11}));        // by hand: "bc" (-1), then U+2581 + "a" (-3)
  EXPECT_EQ(tokenizer.encode("babc"), (Ids{9, 7, 6, 11}));  // not "ab", which begins further left
  EXPECT_EQ(tokenizer.encode("bab"), (Ids{9, 7, 10}));
  EXPECT_EQ(tokenizer.encode("  a"), (Ids{14, 12}));  // three U+2581: the left two first (-0.5)
  EXPECT_EQ(tokenizer.encode(""), Ids{});
}

TEST(GgufVocabulary, SentencePieceFallsBackToBytesAndThenToTheUnknownToken) {
  const Tokenizer tokenizer = load(scored());
  EXPECT_EQ(tokenizer.encode("b!\u00e9"), (Ids{9, 7, 3, 4, 5}));
  EXPECT_EQ(tokenizer.encode("bz"), (Ids{9, 7, 0}));
  EXPECT_EQ(tokenizer.decode(Ids{9, 7, 3, 4, 5}), "b!\u00e9");
}

TEST(GgufVocabulary, EachStretchOfTextGetsASpaceUnlessTheFileSaysNo) {
  EXPECT_EQ(load(scored()).encode("a[U]a</s>a"), (Ids{12, 13, 12, 2, 12}));
  EXPECT_EQ(load(scored()).encode("a[U]a</s>a", false), (Ids{12, 13, 12, 0, 0, 0, 0, 6}));
  const Tokenizer bare = load(scored().flag("tokenizer.ggml.add_space_prefix", false));
  EXPECT_EQ(bare.encode("a[U]a a"), (Ids{6, 13, 6, 12}));
  EXPECT_EQ(bare.decode(Ids{12, 12}), " a a");
  EXPECT_EQ(load(scored()).decode(Ids{12, 12}), "a a");
}

TEST(GgufVocabulary, AControlTokenNeverComesOutOfPlainText) {
  const Tokenizer tokenizer =
      load(kind("llama")
               .texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "<", "s", ">", "<s", "\u2581"})
               .numbers<int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 1, 1, 1, 1, 1})
               .numbers<float>("tokenizer.ggml.scores", 6, {0, 0, 0, -1, -2, -3, -4, -5}));
  EXPECT_EQ(tokenizer.encode("<s>", false), (Ids{7, 6, 5}));
  EXPECT_EQ(tokenizer.encode("<s>", true), (Ids{1}));
}

TEST(GgufVocabulary, EndsAreTheFilesOrSentencePieces) {
  const Tokenizer scored_tokenizer = load(scored());
  EXPECT_TRUE(scored_tokenizer.add_bos());
  EXPECT_EQ(scored_tokenizer.bos(), 1);
  EXPECT_EQ(scored_tokenizer.eos(), 2);
  const Tokenizer other = load(scored()
                                   .number("tokenizer.ggml.bos_token_id", 2)
                                   .number("tokenizer.ggml.eos_token_id", 13)
                                   .flag("tokenizer.ggml.add_bos_token", false));
  EXPECT_FALSE(other.add_bos());
  EXPECT_EQ(other.bos(), 2);
  EXPECT_EQ(other.eos(), 13);
}

TEST(GgufVocabulary, WhiteSpaceBehindTokensOfPhi3IsDropped) {
  EXPECT_EQ(load(scored().text("general.name", "Phi-3-mini")).encode("[U] a"), (Ids{13, 12}));
  EXPECT_EQ(load(scored()).encode("[U] a"), (Ids{13, 14, 6}));
}

TEST(GgufVocabulary, WhatIsNotThereIsRefusedByName) {
  EXPECT_THAT(refusal<FormatError>(RawGguf()), HasSubstr("tokenizer.ggml.model: got no such key"));
  EXPECT_THAT(refusal<Unsupported>(kind("bert").texts("tokenizer.ggml.tokens", {"a"})),
              HasSubstr("tokenizer.ggml.model: got \"bert\", expected gpt2 or llama"));
  EXPECT_THAT(refusal<Unsupported>(byte_level().text("tokenizer.ggml.pre", "deepseek-llm")),
              HasSubstr("tokenizer.ggml.pre: got \"deepseek-llm\""));
  EXPECT_THAT(refusal<Unsupported>(byte_level().text("general.architecture", "llama")),
              HasSubstr("tokenizer.ggml.pre: missing"));
  EXPECT_EQ(load(byte_level().text("general.architecture", "gptneox")).encode("111"), (Ids{7, 6}));
  EXPECT_THAT(refusal<FormatError>(kind("gpt2")), HasSubstr("tokenizer.ggml.tokens: got no such key"));
  EXPECT_THAT(refusal<FormatError>(kind("gpt2").texts("tokenizer.ggml.tokens", {})), HasSubstr("got 0 of them"));
  EXPECT_THAT(
      refusal<FormatError>(kind("gpt2").texts("tokenizer.ggml.tokens", {"a"}).text("tokenizer.ggml.pre", "mpt")),
      HasSubstr("tokenizer.ggml.merges: got no such key"));
  EXPECT_THAT(refusal<FormatError>(kind("llama").texts("tokenizer.ggml.tokens", {"a"})),
              HasSubstr("tokenizer.ggml.scores: got no such key"));
}

TEST(GgufVocabulary, WhatDoesNotFitTogetherIsRefused) {
  const auto with_tokens = [](const std::vector<std::string>& tokens) {
    return kind("gpt2").text("tokenizer.ggml.pre", "mpt").texts("tokenizer.ggml.tokens", tokens);
  };
  EXPECT_THAT(refusal<FormatError>(with_tokens({"a", "a"}).texts("tokenizer.ggml.merges", {})),
              HasSubstr("tokenizer.ggml.tokens: got the token \"a\" twice"));
  EXPECT_THAT(refusal<FormatError>(with_tokens({"a", ""}).texts("tokenizer.ggml.merges", {})),
              HasSubstr("an empty token with id 1"));
  EXPECT_THAT(refusal<FormatError>(with_tokens({"a", "b"}).texts("tokenizer.ggml.merges", {"a b"})),
              HasSubstr("tokenizer.ggml.merges[0]: got the merge of \"a\" and \"b\", expected \"ab\" to be in the"));
  EXPECT_THAT(refusal<FormatError>(with_tokens({"a", "b"}).texts("tokenizer.ggml.merges", {"ab"})),
              HasSubstr("tokenizer.ggml.merges[0]: got \"ab\", expected two tokens"));
  EXPECT_THAT(refusal<FormatError>(with_tokens({"a", "b"}).numbers<int32_t>("tokenizer.ggml.token_type", 5, {1})),
              HasSubstr("tokenizer.ggml.token_type: got 1 of them, expected 2, as tokens"));
  EXPECT_THAT(refusal<FormatError>(byte_level().text("tokenizer.ggml.pre", "llama-bpe")),
              HasSubstr("tokenizer.ggml.bos_token_id: got no such key"));
  EXPECT_THAT(refusal<FormatError>(scored().number("tokenizer.ggml.bos_token_id", 15)),
              HasSubstr("tokenizer.ggml.bos_token_id: got 15, expected an integer in [0, 14]"));
  const auto with_scores = [](const std::vector<float>& scores) {
    return kind("llama").texts("tokenizer.ggml.tokens", {"a", "b"}).numbers<float>("tokenizer.ggml.scores", 6, scores);
  };
  EXPECT_THAT(refusal<FormatError>(with_scores({0})), HasSubstr("tokenizer.ggml.scores: got 1 of them, expected 2"));
  EXPECT_THAT(refusal<FormatError>(with_scores({0, NAN})), HasSubstr("tokenizer.ggml.scores[1]: got nan"));
}

void check(const std::string& file, const std::string& vectors) {
  const Tokenizer tokenizer(test::llama_cpp_vocabularies() / ("ggml-vocab-" + file + ".gguf"));
  test::expect_llama_cpp_vectors(tokenizer, vectors);
}

TEST(GgufVocabulary, Gpt2GivesTheIdsOfLlamaCpp) {
  SCALEBITS_NEEDS_SHARED_DATA();
  check("gpt-2", "gpt-2");
}

TEST(GgufVocabulary, MptGivesTheIdsOfLlamaCpp) {
  SCALEBITS_NEEDS_SHARED_DATA();
  check("mpt", "mpt");
}

/// llama.cpp has no vectors for it; its tokens, merges and pattern are MPT's.
TEST(GgufVocabulary, GptNeoxGivesTheIdsThatLlamaCppGivesForMpt) {
  SCALEBITS_NEEDS_SHARED_DATA();
  check("gpt-neox", "mpt");
}

TEST(GgufVocabulary, Phi3GivesTheIdsOfLlamaCpp) {
  SCALEBITS_NEEDS_SHARED_DATA();
  check("phi-3", "phi-3");
}

}  // namespace
}  // namespace scalebits
