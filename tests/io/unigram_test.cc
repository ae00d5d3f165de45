// SPDX-License-Identifier: Apache-2.0
/// Golden texts are in tokenizer_golden_test.cc; here is a choice that they do not come to.
#include <gmock/gmock.h>

#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

/// By hand: "a" and an unknown character cost 5 + (-12 - 10), with SentencePiece's kUnkPenalty of 10 below the worst
/// token, which is less than the -12 of the token of both; without the penalty it would be more.
TEST(Unigram, AnUnknownCharacterCostsTenMoreThanTheWorstToken) {
  const Tokenizer tokenizer = test::load_tokenizer(
      R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", 5], ["a\u00e9", -12]]}})");
  EXPECT_THAT(tokenizer.encode("a\u00e9"), testing::ElementsAre(2));
  EXPECT_THAT(tokenizer.encode("aa\u00e9\u00e9"), testing::ElementsAre(1, 2, 0));
}

}  // namespace
}  // namespace scalebits
