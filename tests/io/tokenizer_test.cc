// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/tokenizer.h"

#include <chrono>
#include <thread>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"
#include "tests/io/error_text.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

using test::error_text;
using test::load_tokenizer;
using test::small_tokenizer;
using testing::HasSubstr;
using Ids = std::vector<TokenId>;

TEST(Tokenizer, KnowsTheTokensOfTheDemoModel) {
  const Tokenizer tokenizer(test::demo_model());
  EXPECT_EQ(tokenizer.vocab_size(), 4096);
  EXPECT_EQ(tokenizer.bos(), 4094);
  EXPECT_EQ(tokenizer.eos(), 4095);
  EXPECT_TRUE(tokenizer.add_bos());
  EXPECT_EQ(tokenizer.token_to_id("<|end_of_text|>"), 4095);
  EXPECT_EQ(tokenizer.token_to_id("\u0120the"), 260);
  EXPECT_EQ(tokenizer.id_to_token(260), "\u0120the");
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
  for (const TokenId unknown : {-1, 4096, INT32_MIN, INT32_MAX}) EXPECT_EQ(tokenizer.id_to_token(unknown), "");
  EXPECT_TRUE(tokenizer.is_special(4094));
  EXPECT_FALSE(tokenizer.is_special(260));
}

TEST(Tokenizer, TakesSpecialTokensInTextOnlyWhereAsked) {
  const Tokenizer tokenizer = load_tokenizer(small_tokenizer().dump());
  EXPECT_EQ(tokenizer.encode("<s>abc</s>"), (Ids{8, 7, 9}));
  EXPECT_EQ(tokenizer.encode("<s>abc", false), (Ids{7}));  // this vocabulary cannot spell "<s>"
  EXPECT_EQ(tokenizer.decode(Ids{8, 7, 9}), "abc");
  EXPECT_EQ(tokenizer.decode(Ids{8, 7, 9}, false), "<s>abc</s>");
  EXPECT_EQ(tokenizer.decode(Ids{7, -5, 100, 7}), "abcabc");
}

TEST(Tokenizer, GivesBackAnyTextOfTheDemoModel) {
  const Tokenizer tokenizer(test::demo_model());
  Rng rng(7);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    Utf8Stream repair;
    std::string bytes;
    for (uint64_t n = rng.below(60); n > 0; --n)
      bytes += static_cast<char>(rng.below(4) == 0 ? rng.below(256) : 0x20 + rng.below(96));
    repair.push(bytes, text);
    repair.finish(text);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false)), text);
  }
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8AndNamesTheByte) {
  const Tokenizer tokenizer(test::demo_model());
  EXPECT_THAT(error_text<FormatError>([&] { static_cast<void>(tokenizer.encode("abc\xff")); }),
              HasSubstr("[text] byte 3: got 0xff"));
}

TEST(Tokenizer, GivesTheSameFromSeveralThreads) {
  const Tokenizer tokenizer(test::demo_model());
  const std::string text = "The old man, who was a little old man; 12345 \u65e5\u672c";
  const Ids expected = tokenizer.encode(text);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) {
    threads.emplace_back([&tokenizer, &result, &text] {
      for (int i = 0; i < 50; ++i) result = tokenizer.encode(text);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST(Tokenizer, MergesByRankThenFromTheLeft) {
  Json json = small_tokenizer();
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"aa", 2}, {"aab", 3}, {"ab", 4}, {"aaaa", 5}};
  json["model"]["merges"] = {"a b", "a a", "aa aa", "aa b"};
  json.erase("added_tokens");
  const Tokenizer tokenizer = load_tokenizer(json.dump());
  // By hand: "ab" first wherever it stands, then "aa" from the left, then "aa"+"aa".
  EXPECT_EQ(tokenizer.encode("aab"), (Ids{0, 4}));
  EXPECT_EQ(tokenizer.encode("aaaab"), (Ids{2, 0, 4}));
  EXPECT_EQ(tokenizer.encode("aaaaaaa"), (Ids{5, 2, 0}));
  EXPECT_EQ(tokenizer.encode("b"), (Ids{1}));
  EXPECT_EQ(tokenizer.encode(""), Ids{});
}

TEST(Tokenizer, MergesOneEndlessWordInNearLinearTime) {
  // A pass over the word per merge would take 1e10 steps, a minute; the bound leaves room for sanitizers.
  Json json = small_tokenizer();
  json["model"]["vocab"] = {{"a", 0}, {"aa", 1}, {"aaaa", 2}, {"aaaaaaaa", 3}};
  json["model"]["merges"] = {"a a", "aa aa", "aaaa aaaa"};
  json.erase("added_tokens");
  const Tokenizer tokenizer = load_tokenizer(json.dump());
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = tokenizer.encode(std::string(200'000, 'a'));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_EQ(ids, Ids(25'000, 3));
}

TEST(Tokenizer, CutsMetaspaceTextIntoWordsOnlyWhereThatChangesNothing) {
  // With a merge "a_" a word start is not a boundary: the text must be merged as a whole.
  Json json = small_tokenizer();
  json["pre_tokenizer"] = nullptr;
  json["decoder"] = nullptr;
  json["normalizer"] = parse_json(R"({"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})", "");
  json["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"\u2581", 2}, {"a\u2581", 3}, {"\u2581b", 4}};
  json["model"]["merges"] = {"a \u2581", "\u2581 b"};
  EXPECT_EQ(load_tokenizer(json.dump()).encode("a b b"), (Ids{3, 1, 4}));
  json["model"]["merges"] = Json::array({"\u2581 b"});
  EXPECT_EQ(load_tokenizer(json.dump()).encode("a b b"), (Ids{0, 4, 4}));
}

TEST(Tokenizer, ReadsMergesWrittenAsTextAndAsPairs) {
  Json json = small_tokenizer();
  const Ids expected = load_tokenizer(json.dump()).encode("abc ab dcab");
  json["model"]["merges"] = parse_json(R"([["a", "b"], ["ab", "c"]])", "");
  EXPECT_EQ(load_tokenizer(json.dump()).encode("abc ab dcab"), expected);
  json["model"]["merges"] = {"#version: 0.2", "a b", "ab c"};
  EXPECT_EQ(load_tokenizer(json.dump()).encode("abc ab dcab"), expected);
}

TEST(Tokenizer, StreamedTextIsTheDecodedTextAndNeverHalfACharacter) {
  const auto check = [](const Tokenizer& tokenizer) {
    Rng rng(11);
    const auto size = static_cast<uint64_t>(tokenizer.vocab_size());
    for (int round = 0; round < 500; ++round) {
      Ids ids;
      // Low ids are the single bytes of both kinds of vocabulary.
      const uint64_t pool = round % 2 == 0 ? 260 : size + 3;
      for (uint64_t n = rng.below(30); n > 0; --n) ids.push_back(static_cast<TokenId>(rng.below(pool)));
      for (const bool skip : {true, false}) {
        StreamDecoder decoder(tokenizer, skip);
        std::string text;
        for (const TokenId id : ids) {
          const std::string piece = decoder.push(id);
          EXPECT_EQ(find_invalid_utf8(piece), std::string::npos);
          text += piece;
        }
        text += decoder.finish();
        ASSERT_EQ(text, tokenizer.decode(ids, skip));
        // After finish() the next text starts anew.
        text = decoder.push(70);
        text += decoder.finish();
        ASSERT_EQ(text, tokenizer.decode(Ids{70}, skip));
      }
    }
  };
  check(Tokenizer(test::demo_model()));
  SCALEBITS_NEEDS_SHARED_DATA();
  check(Tokenizer(test::shared_data() / "models/stories260K"));
}

TEST(Tokenizer, StreamingStripsTheFirstSpaceOfEachTextOnly) {
  Json json = small_tokenizer();
  json["pre_tokenizer"] = nullptr;
  json["model"]["vocab"] = {{"a", 0}, {"\u2581a", 1}, {"\u2581", 2}, {"<0xC3>", 3}, {"<0xA9>", 4}, {"<0x0A>", 5}};
  json["model"]["merges"] = Json::array();
  json["decoder"] = parse_json(R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"},
      "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
                               "");
  const Tokenizer tokenizer = load_tokenizer(json.dump());
  StreamDecoder decoder(tokenizer);
  for (int text = 0; text < 2; ++text) {
    EXPECT_EQ(decoder.push(8), "");  // <s> does not count as the first token
    EXPECT_EQ(decoder.push(1), "a");
    EXPECT_EQ(decoder.push(1), " a");
    EXPECT_EQ(decoder.push(3), "");
    EXPECT_EQ(decoder.push(4), "");
    EXPECT_EQ(decoder.push(2), "\u00e9 ");
    EXPECT_EQ(decoder.push(5), "");
    EXPECT_EQ(decoder.push(3), "");
    EXPECT_EQ(decoder.finish(), "\ufffd\ufffd");  // the newline too: a run is text as a whole or not at all
  }
}

TEST(Tokenizer, StreamingGivesEachWordAsItsTokenComes) {
  const Tokenizer tokenizer(test::demo_model());
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(500), "The");
  // An emoji in four byte tokens: nothing, nothing, nothing, all.
  const Ids emoji = tokenizer.encode("\U0001f642");
  ASSERT_EQ(emoji, (Ids{172, 253, 247, 224}));
  for (const TokenId id : {172, 253, 247}) EXPECT_EQ(decoder.push(id), "");
  EXPECT_EQ(decoder.push(224), "\U0001f642");
  EXPECT_EQ(decoder.push(172), "");
  EXPECT_EQ(decoder.finish(), "\ufffd");
}

}  // namespace
}  // namespace scalebits
