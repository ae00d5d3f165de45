// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/perplexity.h"

#include <cmath>
#include <limits>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/base/rng.h"
#include "scalebits/io/text.h"
#include "tests/io/error_text.h"
#include "tests/model/golden.h"

namespace scalebits {
namespace {

using test::error_text;
using testing::HasSubstr;

TEST(PerplexityOf, HandComputedNumbers) {
  const std::vector<double> nll = {1, 2, 3};
  const Perplexity p = perplexity_of(nll);
  EXPECT_DOUBLE_EQ(p.nll, 2);
  EXPECT_DOUBLE_EQ(p.value, std::exp(2.0));
  // Variance 2/3 (of the three), standard error of the mean sqrt(2/3 / 2).
  EXPECT_DOUBLE_EQ(p.standard_error, std::exp(2.0) * std::sqrt(1.0 / 3.0));
  EXPECT_EQ(p.tokens, 3);
  EXPECT_EQ(perplexity_of(std::vector<double>{0.5}).standard_error, 0);
}

TEST(PerplexityOf, NamesTheFirstTokenThatIsNotFinite) {
  const std::vector<double> nll = {1, std::numeric_limits<double>::infinity(), std::nan("")};
  EXPECT_THAT(error_text<Error>([&] { perplexity_of(nll); }),
              HasSubstr("token 1: got a negative log-likelihood of inf"));
}

/// A window over the golden sequence, all or only its later tokens predicted.
WindowSet golden_windows(const std::vector<Sequence>& sequences, int64_t first_target) {
  WindowSet set;
  set.options.seqlen = static_cast<int64_t>(sequences[0].size());
  for (const Sequence& s : sequences) {
    set.windows.push_back({.ids = s, .first_target = first_target});
    set.predicted += set.windows.back().predicted();
  }
  return set;
}

void expect_golden(const std::filesystem::path& model, const std::filesystem::path& golden_path) {
  const test::GoldenFile golden(golden_path);
  const auto weights = open_model(model);
  const at::Tensor nll = golden["token_nll"].to(at::kDouble);  // [sequences, T - 1]
  // A float32 run of the golden script's own code is off by this; our sums have other orders, hence the factor.
  const double bound = 16 * golden.number("float32_logit_error");
  for (const int64_t first : {1, 7}) {
    const WindowSet set = golden_windows(golden.sequences(), first);
    const Perplexity p = measure_perplexity(*weights, set, silent_log());
    const at::Tensor part = nll.narrow(1, first - 1, nll.size(1) - (first - 1));
    EXPECT_EQ(p.tokens, part.numel());
    EXPECT_NEAR(p.nll, part.mean().item<double>(), bound) << "from token " << first;
  }
}

TEST(MeasurePerplexity, EqualsTheGoldenLosses) {
  expect_golden(test::demo_model(), test::golden_dir() / "demo-5m.safetensors");
  expect_golden(test::tiny_gqa(), test::tiny_gqa() / "golden.safetensors");
}

TEST(MeasurePerplexity, IsTheSameForAnyNumberOfThreads) {
  const auto weights = open_model(test::tiny_gqa());
  std::vector<Sequence> sequences;
  Rng rng(4);
  for (int i = 0; i < 7; ++i) {
    sequences.emplace_back();
    for (int t = 0; t < 12 + i; ++t) sequences.back().push_back(static_cast<TokenId>(rng.below(128)));
  }
  const WindowSet set = golden_windows(sequences, 1);
  std::vector<double> nll;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    nll.push_back(measure_perplexity(*weights, set, silent_log()).nll);
  }
  set_num_threads(0);
  EXPECT_EQ(nll[0], nll[1]);
  EXPECT_EQ(nll[0], nll[2]);
}

TEST(MeasurePerplexity, StopsWhenAsked) {
  const auto weights = open_model(test::tiny_gqa());
  const WindowSet set = golden_windows({{1, 2, 3, 4, 5}}, 1);
  request_stop();
  EXPECT_THROW(measure_perplexity(*weights, set, silent_log()), Interrupted);
  clear_stop_request();
}

/// Karpathy's run.c on the same weights and stories (../shared/data/README.md).
TEST(MeasurePerplexity, ReproducesRunCOnTinyStories) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const auto weights = open_model(test::stories260k());
  const Tokenizer tokenizer(test::stories260k());
  const auto documents =
      read_documents(test::shared_data() / "text/tinystories/tinystories_v2_sample.txt", "<|endoftext|>");
  const WindowSet set = cut_windows(tokenize_documents(tokenizer, documents, Protocol::kDocuments), tokenizer.bos(),
                                    {.protocol = Protocol::kDocuments, .seqlen = 512}, "stories");
  const Perplexity p = measure_perplexity(*weights, set, silent_log());
  EXPECT_EQ(p.tokens, 1804);
  EXPECT_NEAR(p.nll, 1.2664, 0.00005 + 0.00005);  // four digits were printed; run.c is built with -ffast-math
}

/// llama.cpp's own F32 figure for the first 40 windows of 512 (whole text: 29.831; tests/cli checks fewer windows).
TEST(MeasurePerplexity, ReproducesLlamacppOnTheDemoText) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const auto weights = open_model(test::demo_model());
  const Tokenizer tokenizer(test::demo_model());
  const auto documents = read_documents(test::shared_data() / "text/demo/test.txt");
  const WindowSet set = cut_windows(tokenize_documents(tokenizer, documents, Protocol::kLlamacpp), tokenizer.bos(),
                                    {.protocol = Protocol::kLlamacpp, .seqlen = 512, .max_windows = 40}, "text");
  EXPECT_EQ(set.predicted, 40 * 255);
  EXPECT_NEAR(measure_perplexity(*weights, set, silent_log()).value, 30.151, 0.003);
}

}  // namespace
}  // namespace scalebits
