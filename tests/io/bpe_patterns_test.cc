// SPDX-License-Identifier: Apache-2.0
/// The named pre-tokenizers against the `tokenizers` package with the models' own patterns.
#include "scalebits/io/bpe_patterns.h"

#include "scalebits/io/pre_tokenizer.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

TEST(BpePatterns, CutTextsAsTheReferencePackageDoes) {
  const Json file = read_json(test::source_dir() / "tests/io/golden/tokenizer_patterns.json");
  ASSERT_EQ(file["patterns"].size(), 10U);
  for (const Json& row : file["patterns"]) {
    const auto name = row[0].get<std::string>();
    const auto found = find_gguf_pre_tokenizer(name);
    ASSERT_TRUE(found) << name;
    const Json json = bpe_pre_tokenizer(found->pattern);
    const PreTokenizer pre_tokenizer(Component(json, name, "pre_tokenizer"));
    for (const Json& sample : row[1]) {
      const auto text = sample[0].get<std::string>();
      std::vector<std::string> pieces;
      for (const std::string_view piece : pre_tokenizer.split(text, true).views) pieces.emplace_back(piece);
      EXPECT_EQ(pieces, sample[1].get<std::vector<std::string>>()) << name << ": " << sample[0];
    }
  }
}

TEST(BpePatterns, NamesOfOnePatternAgreeAndUnknownOnesAreNotGuessed) {
  EXPECT_EQ(find_gguf_pre_tokenizer("olmo")->pattern, BpePattern::kGpt2);
  EXPECT_EQ(find_gguf_pre_tokenizer("deepseek-r1-qwen")->pattern, BpePattern::kQwen2);
  EXPECT_TRUE(find_gguf_pre_tokenizer("llama-bpe")->ignore_merges);
  EXPECT_FALSE(find_gguf_pre_tokenizer("smaug-bpe")->ignore_merges);
  EXPECT_FALSE(find_gguf_pre_tokenizer(""));
  EXPECT_FALSE(find_gguf_pre_tokenizer("gpt-3"));
}

}  // namespace
}  // namespace scalebits
