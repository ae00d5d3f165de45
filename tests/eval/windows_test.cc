// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/windows.h"

#include <numeric>

#include "scalebits/base/errors.h"
#include "tests/data.h"
#include "tests/io/error_text.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

constexpr TokenId kBos = 100;

/// 0, 1, ... n - 1: an id tells where it stood.
Sequence count_to(int64_t n) {
  Sequence ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST(Windows, GptqCutsTheJoinedTextWithoutBosAndDropsTheTail) {
  const std::vector<Sequence> documents = {{0, 1, 2}, {3, 4, 5, 6, 7, 8}};
  const WindowSet set = cut_windows(documents, std::nullopt, {.protocol = Protocol::kGptq, .seqlen = 4}, "text");
  ASSERT_EQ(set.windows.size(), 2U);
  EXPECT_EQ(set.windows[0].ids, (Sequence{0, 1, 2, 3}));
  EXPECT_EQ(set.windows[1].ids, (Sequence{4, 5, 6, 7}));
  EXPECT_EQ(set.windows[0].first_target, 1);
  EXPECT_EQ(set.text_tokens, 9);
  EXPECT_EQ(set.predicted, 6);
  EXPECT_EQ(set.bos_policy, "none");
}

TEST(Windows, GptqPutsBosOnceBeforeTheText) {
  const std::vector<Sequence> documents = {{0, 1, 2}, {3, 4, 5, 6}};
  const WindowSet set = cut_windows(documents, kBos, {.protocol = Protocol::kGptq, .seqlen = 4}, "text");
  ASSERT_EQ(set.windows.size(), 2U);
  EXPECT_EQ(set.windows[0].ids, (Sequence{kBos, 0, 1, 2}));
  EXPECT_EQ(set.windows[1].ids, (Sequence{3, 4, 5, 6}));
  EXPECT_EQ(set.text_tokens, 8);
}

TEST(Windows, LlamacppReplacesTheFirstTokenByBosAndPredictsTheSecondHalf) {
  const std::vector<Sequence> documents = {count_to(17)};
  const WindowSet set = cut_windows(documents, kBos, {.protocol = Protocol::kLlamacpp, .seqlen = 8}, "text");
  // The stream is BOS, 0, 1, ... 16: 18 ids, two windows of 8.
  ASSERT_EQ(set.windows.size(), 2U);
  EXPECT_EQ(set.windows[0].ids, (Sequence{kBos, 0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(set.windows[1].ids, (Sequence{kBos, 8, 9, 10, 11, 12, 13, 14}));  // 7 was replaced
  // llama.cpp scores logits n/2 .. n-2, which predict ids n/2+1 .. n-1.
  EXPECT_EQ(set.windows[0].first_target, 5);
  EXPECT_EQ(set.predicted, 2 * 3);
}

TEST(Windows, LlamacppWithoutBosKeepsTheFirstToken) {
  const std::vector<Sequence> documents = {count_to(9)};
  const WindowSet set = cut_windows(documents, std::nullopt, {.protocol = Protocol::kLlamacpp, .seqlen = 4}, "text");
  ASSERT_EQ(set.windows.size(), 2U);
  EXPECT_EQ(set.windows[1].ids, (Sequence{4, 5, 6, 7}));
  EXPECT_EQ(set.windows[1].predicted(), 1);
}

TEST(Windows, DocumentsPredictEveryTokenOnceAndRestartTheContext) {
  const std::vector<Sequence> documents = {count_to(9), {}, {50, 51}};
  const WindowSet set = cut_windows(documents, kBos, {.protocol = Protocol::kDocuments, .seqlen = 4}, "text");
  ASSERT_EQ(set.windows.size(), 4U);
  EXPECT_EQ(set.windows[0].ids, (Sequence{kBos, 0, 1, 2, 3}));  // reads four, predicts four
  EXPECT_EQ(set.windows[1].ids, (Sequence{3, 4, 5, 6, 7}));
  EXPECT_EQ(set.windows[2].ids, (Sequence{7, 8}));
  EXPECT_EQ(set.windows[3].ids, (Sequence{kBos, 50, 51}));
  EXPECT_EQ(set.predicted, 11);
}

TEST(Windows, ADocumentThatFillsItsWindowsExactlyGivesNoEmptyOne) {
  const std::vector<Sequence> documents = {count_to(8)};
  const WindowSet set = cut_windows(documents, kBos, {.protocol = Protocol::kDocuments, .seqlen = 4}, "text");
  ASSERT_EQ(set.windows.size(), 2U);
  EXPECT_EQ(set.windows[1].ids, (Sequence{3, 4, 5, 6, 7}));
}

TEST(Windows, MaxWindowsTakesTheFirst) {
  const std::vector<Sequence> documents = {count_to(40), count_to(3)};
  for (const Protocol protocol : {Protocol::kGptq, Protocol::kLlamacpp, Protocol::kDocuments}) {
    const WindowOptions all{.protocol = protocol, .seqlen = 8},
        two{.protocol = protocol, .seqlen = 8, .max_windows = 2};
    const WindowSet whole = cut_windows(documents, kBos, all, "text"), part = cut_windows(documents, kBos, two, "text");
    ASSERT_EQ(part.windows.size(), 2U) << protocol_name(protocol);
    EXPECT_GT(whole.windows.size(), 2U);
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(part.windows[i].ids, whole.windows[i].ids);
    EXPECT_EQ(part.predicted, part.windows[0].predicted() + part.windows[1].predicted());
  }
}

TEST(Windows, TextShorterThanAWindowIsRefusedWithBothNumbers) {
  const std::vector<Sequence> documents = {count_to(6)};
  EXPECT_EQ(error_text<FormatError>(
                [&] { cut_windows(documents, kBos, {.protocol = Protocol::kGptq, .seqlen = 8}, "a.txt"); }),
            "[a.txt] text: got 7 tokens, expected at least 8 (one window). Give more text or a smaller --seqlen.");
  const std::vector<Sequence> nothing = {{}};
  EXPECT_THAT(error_text<FormatError>(
                  [&] { cut_windows(nothing, kBos, {.protocol = Protocol::kDocuments, .seqlen = 8}, "a.txt"); }),
              HasSubstr("got 1 tokens in 1 documents"));
}

TEST(Windows, SeqlenBeyondTheContextIsRefusedWithBothNumbers) {
  ModelConfig config;
  config.max_context = 512;
  check_seqlen(512, config);
  EXPECT_EQ(error_text<InvalidArgument>([&] { check_seqlen(513, config); }),
            "[--seqlen] got 513, expected at most 512 (max_position_embeddings of the model).");
  EXPECT_THAT(error_text<InvalidArgument>([&] { check_seqlen(3, config); }), HasSubstr("got 3, expected at least 4"));
}

TEST(Windows, DefaultSeqlenIsThatOfThePapersOrTheContext) {
  ModelConfig config;
  config.max_context = 131072;
  EXPECT_EQ(default_seqlen(config), 2048);
  config.max_context = 512;
  EXPECT_EQ(default_seqlen(config), 512);
}

TEST(Windows, IdsOutsideTheVocabularyAreRefused) {
  const std::vector<Sequence> documents = {{0, 1, 2, 9}};
  const WindowSet set = cut_windows(documents, std::nullopt, {.protocol = Protocol::kGptq, .seqlen = 4}, "text");
  ModelConfig config;
  config.vocab_size = 10;
  check_vocabulary(set, config);
  config.vocab_size = 9;
  EXPECT_THAT(error_text<FormatError>([&] { check_vocabulary(set, config); }), HasSubstr("got 9, expected 0..8"));
}

TEST(Windows, ProtocolNamesAreReadAndOthersRefused) {
  EXPECT_EQ(parse_protocol("gptq"), Protocol::kGptq);
  EXPECT_EQ(parse_protocol("llamacpp"), Protocol::kLlamacpp);
  EXPECT_THAT(error_text<InvalidArgument>([] { parse_protocol("hf"); }), HasSubstr("expected gptq or llamacpp"));
}

}  // namespace
}  // namespace scalebits
