// SPDX-License-Identifier: Apache-2.0
// Calibration sequences cut from text or sampled from the model.
#include "scalebits/calibrate/tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "tests/io/error_text.h"
#include "tests/model/golden.h"
#include "tests/model/whole_model.h"

namespace scalebits::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Keeps warnings.
class Warnings : public Log {
 public:
  using Log::info;
  using Log::warn;
  void warn(std::string_view line) override { lines.emplace_back(line); }
  std::vector<std::string> lines;
};

std::vector<std::string> documents() {
  std::vector<std::string> documents;
  for (int i = 0; i < 12; ++i) {
    documents.push_back("Chapter " + std::to_string(i) + ". The old man saw the sea and counted " +
                        std::to_string(i * i) + " ships. He went home.\n");
  }
  return documents;
}

class SequencesFromDocuments : public ::testing::Test {
 protected:
  SequencesFromDocuments() {
    for (const std::string& document : documents()) {
      const auto ids = tokenizer_.encode(document, false);
      all_.insert(all_.end(), ids.begin(), ids.end());
    }
  }
  std::vector<Sequence> cut(const CalibOptions& options) {
    return sequences_from_documents(tokenizer_, documents(), options, "book.txt", log_);
  }
  /// Index of the window that `s` (without its BOS) is, or -1.
  [[nodiscard]] int64_t window_of(const Sequence& s, size_t body) const {
    for (size_t w = 0; (w + 1) * body <= all_.size(); ++w) {
      if (std::equal(s.end() - static_cast<std::ptrdiff_t>(body), s.end(),
                     all_.begin() + static_cast<std::ptrdiff_t>(w * body))) {
        return static_cast<int64_t>(w);
      }
    }
    return -1;
  }

  const Tokenizer tokenizer_{demo_model()};
  Sequence all_;
  Warnings log_;
};

TEST_F(SequencesFromDocuments, AreBosAndConsecutiveWindowsWithoutTheTail) {
  ASSERT_TRUE(tokenizer_.add_bos());
  const size_t body = 15, windows = all_.size() / body;
  ASSERT_NE(all_.size() % body, 0U) << "no tail to drop";
  const std::vector<Sequence> sequences = cut({.nsamples = 1000, .seqlen = 16});
  ASSERT_EQ(sequences.size(), windows);
  std::set<int64_t> seen;
  for (const Sequence& s : sequences) {
    ASSERT_EQ(s.size(), 16U);
    EXPECT_EQ(s[0], 4094);
    seen.insert(window_of(s, body));
  }
  EXPECT_EQ(seen.size(), windows) << "each window once";
  EXPECT_EQ(seen.count(-1), 0U);
  ASSERT_EQ(log_.lines.size(), 1U);
  EXPECT_THAT(log_.lines[0], AllOf(HasSubstr("book.txt"), HasSubstr(std::to_string(windows)), HasSubstr("1000")));
}

TEST_F(SequencesFromDocuments, AreDrawnBySeedWithoutRepetition) {
  const CalibOptions options{.nsamples = 6, .seqlen = 16, .seed = 7};
  const std::vector<Sequence> sequences = cut(options);
  EXPECT_EQ(sequences.size(), 6U);
  EXPECT_EQ(sequences, cut(options));
  EXPECT_NE(sequences, cut({.nsamples = 6, .seqlen = 16, .seed = 8}));
  std::set<int64_t> seen;
  for (const Sequence& s : sequences) seen.insert(window_of(s, 15));
  EXPECT_EQ(seen.size(), 6U);
  EXPECT_TRUE(log_.lines.empty());
}

TEST_F(SequencesFromDocuments, HaveNoBosWhereTheTokenizerPutsNone) {
  const TempDir dir;
  std::filesystem::copy_file(demo_model() / "tokenizer.json", dir / "tokenizer.json");
  std::ofstream(dir / "tokenizer_config.json") << R"({"bos_token": "<|begin_of_text|>", "add_bos_token": false})";
  const Tokenizer tokenizer(dir.path());
  ASSERT_FALSE(tokenizer.add_bos());
  const auto sequences =
      sequences_from_documents(tokenizer, documents(), {.nsamples = 1000, .seqlen = 16}, "book", log_);
  EXPECT_EQ(sequences.size(), all_.size() / 16);
  for (const Sequence& s : sequences) EXPECT_NE(window_of(s, 16), -1);
}

TEST_F(SequencesFromDocuments, RefuseTextTooShortForTwoWindows) {
  const auto n = static_cast<int64_t>(all_.size());
  EXPECT_EQ(cut({.nsamples = 9, .seqlen = n / 2 + 1}).size(), 2U);
  const std::string text = error_text<FormatError>([&] { cut({.nsamples = 9, .seqlen = n / 2 + 2}); });
  EXPECT_THAT(text, AllOf(HasSubstr("[book.txt]"), HasSubstr("got " + std::to_string(n) + " tokens"),
                          HasSubstr("expected at least " + std::to_string(2 * (n / 2 + 1)))));
}

TEST_F(SequencesFromDocuments, RefuseOptionsThatLeaveNothingToSplit) {
  EXPECT_THAT(error_text<InvalidArgument>([&] { cut({.nsamples = 9, .seqlen = 1}); }), HasSubstr("seqlen"));
  EXPECT_THAT(error_text<InvalidArgument>([&] { cut({.nsamples = 9, .seqlen = -5}); }), HasSubstr("seqlen"));
  EXPECT_THAT(error_text<InvalidArgument>([&] { cut({.nsamples = 1, .seqlen = 16}); }), HasSubstr("nsamples"));
}

std::vector<Sequence> sample(int64_t n, uint64_t seed) {
  return sample_sequences(std::make_shared<Checkpoint>(demo_model()), read_hf_config(demo_model()),
                          Tokenizer(demo_model()), {.nsamples = n, .seqlen = 12, .seed = seed}, silent_log());
}

TEST(SampleSequences, BeginWithBosAndStayInTheVocabulary) {
  for (const Sequence& s : sample(5, 1)) {
    ASSERT_EQ(s.size(), 12U);
    EXPECT_EQ(s[0], 4094);
    for (const TokenId id : s) EXPECT_TRUE(id >= 0 && id < 4096);
  }
}

/// 34 sequences are three batches of 16, so that three threads have work.
TEST(SampleSequences, DependOnSeedAndIndexAndNotOnThreads) {
  std::vector<std::vector<Sequence>> runs;
  for (const int n : {1, 2, 3}) {
    set_num_threads(n);
    runs.push_back(sample(34, 1));
  }
  set_num_threads(0);
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_EQ(runs[0], runs[2]);
  EXPECT_NE(runs[0], sample(34, 2));
  EXPECT_EQ(std::set<Sequence>(runs[0].begin(), runs[0].end()).size(), 34U);
}

/// Sampled text is likelier under the model than random tokens: its mean loss is the model's entropy, far below
/// log 4096 = 8.3 nats, where uniformly drawn tokens land above.
TEST(SampleSequences, AreTheModelsOwnText) {
  const auto weights = open_dense_model(demo_model());
  const std::vector<Sequence> own = sample(24, 3);
  EXPECT_LT(mean_loss(LossKind::kCe, *weights, own, {}), 6.5);
}

TEST(SplitCalibration, HoldsOutEveryFourthSequenceAndLosesNone) {
  std::vector<Sequence> sequences;
  for (TokenId i = 0; i < 11; ++i) sequences.push_back({i, i + 1});
  const CalibSet set = split_calibration(sequences, "self");
  EXPECT_EQ(set.source, "self");
  EXPECT_EQ(set.heldout, (std::vector<Sequence>{{3, 4}, {7, 8}}));
  EXPECT_EQ(set.gradient.size(), 9U);
  std::set<Sequence> both(set.gradient.begin(), set.gradient.end());
  both.insert(set.heldout.begin(), set.heldout.end());
  EXPECT_EQ(both, std::set<Sequence>(sequences.begin(), sequences.end()));
}

TEST(SplitCalibration, HasBothKindsFromTwoSequencesOn) {
  for (size_t n : {2, 3, 4, 5}) {
    const CalibSet set = split_calibration(std::vector<Sequence>(n, Sequence{1, 2}), "x");
    EXPECT_GE(set.heldout.size(), 1U) << n;
    EXPECT_GE(set.gradient.size(), 1U) << n;
    EXPECT_EQ(set.gradient.size() + set.heldout.size(), n);
  }
}

TEST(SplitCalibration, HashIsOfTheTokensInOrder) {
  const std::vector<Sequence> a = {{1, 2}, {3, 4}}, b = {{3, 4}, {1, 2}}, c = {{1, 2}, {3, 5}};
  EXPECT_EQ(split_calibration(a, "x").hash, split_calibration(a, "y").hash);
  EXPECT_NE(split_calibration(a, "x").hash, split_calibration(b, "x").hash);
  EXPECT_NE(split_calibration(a, "x").hash, split_calibration(c, "x").hash);
}

}  // namespace
}  // namespace scalebits::test
