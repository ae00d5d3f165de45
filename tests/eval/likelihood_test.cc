// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/likelihood.h"

#include <cmath>

#include "scalebits/base/errors.h"
#include "scalebits/base/rng.h"
#include "scalebits/eval/encode_pairs.h"
#include "tests/io/error_text.h"
#include "tests/model/checkpoint_copy.h"
#include "tests/report/packed_model.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

/// Each request alone, in one piece, with log_softmax in f64.
Likelihood direct(const ModelWeights& weights, const LikelihoodRequest& request) {
  const std::vector<Sequence> one = {Sequence(request.ids.begin(), request.ids.end() - 1)};
  const at::Tensor log_p = at::log_softmax(weights.logits(reference_hidden(weights, one)[0]).to(at::kDouble), -1);
  const auto n = static_cast<int64_t>(request.ids.size());
  Likelihood result{0.0, true};
  for (int64_t t = n - request.predicted; t < n; ++t) {
    const int64_t id = request.ids[static_cast<size_t>(t)];
    result.log_likelihood += log_p[t - 1][id].item<double>();
    result.greedy = result.greedy && log_p[t - 1].argmax().item<int64_t>() == id;
  }
  return result;
}

/// Examples that all share, questions that some share, answers; in no order, one of them twice.
std::vector<LikelihoodRequest> requests(int64_t vocab) {
  Rng rng(7);
  const auto draw = [&](uint64_t n) {
    Sequence ids;
    for (uint64_t i = 0; i < n; ++i) ids.push_back(static_cast<TokenId>(rng.below(static_cast<uint64_t>(vocab))));
    return ids;
  };
  const Sequence examples = draw(20);
  std::vector<LikelihoodRequest> all;
  for (int question = 0; question < 4; ++question) {
    Sequence asked = question < 3 ? examples : Sequence();
    const Sequence own = draw(6);
    asked.insert(asked.end(), own.begin(), own.end());
    for (int64_t answer = 1; answer <= 3; ++answer) {
      Sequence ids = asked;
      const Sequence words = draw(static_cast<uint64_t>(answer));
      ids.insert(ids.end(), words.begin(), words.end());
      all.push_back({ids, answer});
    }
  }
  std::swap(all[0], all[8]);
  all.push_back(all[3]);
  all.push_back({all[3].ids, static_cast<int64_t>(all[3].ids.size()) - 1});  // everything but the first token
  return all;
}

void expect_direct(const ModelWeights& weights, const std::vector<LikelihoodRequest>& asked, int64_t batch_tokens) {
  const auto found = measure_likelihoods(weights, asked, batch_tokens, silent_log());
  ASSERT_EQ(found.size(), asked.size());
  for (size_t i = 0; i < asked.size(); ++i) {
    const Likelihood expected = direct(weights, asked[i]);
    // Float roundings of logits that span less than 30 (token_scores_test.cc), for each predicted token.
    EXPECT_NEAR(found[i].log_likelihood, expected.log_likelihood, 1e-5 * static_cast<double>(asked[i].predicted)) << i;
    EXPECT_EQ(found[i].greedy, expected.greedy) << i;
  }
}

TEST(Likelihood, SharedBeginningsChangeNothing) {
  const auto weights = open_model(test::tiny_gqa());
  const auto asked = requests(weights->config().vocab_size);
  for (const int64_t batch : {1, 40, 100000}) expect_direct(*weights, asked, batch);
}

TEST(Likelihood, OfTheDemoModelAndOfAPackedOne) {
  const auto demo = open_model(test::demo_model());
  const auto asked = requests(demo->config().vocab_size);
  expect_direct(*demo, asked, 100000);
  const test::TempDir dir;
  test::pack_model(test::demo_model(), dir / "packed", {}, [](int64_t, Slot, int64_t) { return uint8_t{3}; });
  expect_direct(*open_model(dir / "packed"), asked, 100000);
}

TEST(Likelihood, GreedyContinuationsAreSeenAsSuch) {
  const auto weights = open_model(test::demo_model());
  Sequence ids = {4094, 300, 301, 302};
  for (int i = 0; i < 3; ++i) {
    const std::vector<Sequence> one = {ids};
    ids.push_back(
        static_cast<TokenId>(weights->logits(reference_hidden(*weights, one)[0])[-1].argmax().item<int64_t>()));
  }
  Sequence other = ids;
  other.back() ^= 1;
  const std::vector<LikelihoodRequest> asked = {{ids, 3}, {other, 3}, {ids, 5}};
  const auto found = measure_likelihoods(*weights, asked, 1000, silent_log());
  EXPECT_TRUE(found[0].greedy);
  EXPECT_FALSE(found[1].greedy);
  EXPECT_FALSE(found[2].greedy);
  EXPECT_GT(found[0].log_likelihood, found[1].log_likelihood);
}

TEST(Likelihood, CountsWhatIsComputed) {
  const auto weights = open_model(test::tiny_gqa());
  const Sequence context = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<LikelihoodRequest> asked;
  for (const TokenId answer : {9, 10}) {
    asked.push_back({context, 1});
    asked.back().ids.push_back(answer);
    asked.push_back({context, 2});
    asked.back().ids.insert(asked.back().ids.end(), {answer, 11});
  }
  LikelihoodTally tally;
  (void)measure_likelihoods(*weights, asked, 1000, silent_log(), &tally);
  EXPECT_EQ(tally.tokens, 8 + 2);  // the context once, and the first token of the two long answers
  EXPECT_EQ(tally.tokens_unshared, 8 + 9 + 8 + 9);
}

TEST(EncodePair, SplitsAsTheHarnessDoes) {
  const Tokenizer tokenizer(test::demo_model());
  const TokenId bos = *tokenizer.bos();
  const auto pair = encode_pair(tokenizer, "The dog", " runs home", 512, "x");
  const auto whole = tokenizer.encode("The dog runs home");
  EXPECT_EQ(pair.ids[0], bos);
  EXPECT_EQ(Sequence(pair.ids.begin() + 1, pair.ids.end()), whole);
  EXPECT_EQ(pair.predicted, static_cast<int64_t>(whole.size() - tokenizer.encode("The dog").size()));
  // White space at the end of the context is scored with the continuation.
  EXPECT_EQ(encode_pair(tokenizer, "The dog ", "runs home", 512, "x").predicted, pair.predicted);
  // BOS written in the text is not doubled.
  EXPECT_EQ(encode_pair(tokenizer, "<|begin_of_text|>The dog", " runs home", 512, "x").ids, pair.ids);
  const auto alone = encode_pair(tokenizer, "", "The dog", 512, "x");
  EXPECT_EQ(alone.ids[0], bos);
  EXPECT_EQ(alone.predicted, static_cast<int64_t>(alone.ids.size()) - 1);
}

TEST(EncodePair, TruncatesFromTheLeftAndRefusesWhatCannotBeScored) {
  const Tokenizer tokenizer(test::demo_model());
  const auto whole = encode_pair(tokenizer, "One two three four five six", " seven", 512, "x");
  const auto brief = encode_pair(tokenizer, "One two three four five six", " seven", 4, "x");
  EXPECT_EQ(brief.ids, Sequence(whole.ids.end() - 5, whole.ids.end())) << "the last id is predicted, not read";
  EXPECT_EQ(brief.predicted, whole.predicted);
  EXPECT_THAT(error_text<InvalidArgument>([&] { encode_pair(tokenizer, "a", " b c d e f g", 3, "piqa, item 3"); }),
              HasSubstr("[piqa, item 3] continuation: got 6 tokens, expected at most 3"));
  EXPECT_THAT(error_text<InvalidArgument>([&] { encode_pair(tokenizer, "a", "", 3, "x"); }),
              HasSubstr("got 0 tokens of its own"));
}

}  // namespace
}  // namespace scalebits
