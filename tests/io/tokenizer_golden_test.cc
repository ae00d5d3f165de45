// SPDX-License-Identifier: Apache-2.0
/// The tokenizer against others: the `tokenizers` package (tools/golden/tokenizer_golden.py), llama.cpp's vectors, and
/// the demo model's own reference.json.
#include "tests/io/llama_cpp_vectors.h"
#include "tests/io/tokenizer_files.h"

namespace scalebits {
namespace {

using Ids = std::vector<TokenId>;

Json golden(const std::string& name) { return read_json(test::source_dir() / "tests/io/golden" / name); }

/// Every case of one row: [text, ids, ids as plain text] and [ids, text, text with special tokens].
void check(const Tokenizer& tokenizer, const Json& row, const std::string& name) {
  for (const Json& sample : row["encode"]) {
    const auto text = sample[0].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, true), sample[1].get<Ids>()) << name << ": " << sample[0];
    EXPECT_EQ(tokenizer.encode(text, false), sample[sample.size() - 1].get<Ids>()) << name << ", plain: " << sample[0];
  }
  for (const Json& sample : row["decode"]) {
    const auto ids = sample[0].get<Ids>();
    for (const bool skip : {true, false}) {
      const auto text = sample[skip ? 1 : 2].get<std::string>();
      EXPECT_EQ(tokenizer.decode(ids, skip), text) << name << ": " << sample[0];
      EXPECT_EQ(test::stream_decode(tokenizer, ids, skip), text) << name << ", token by token: " << sample[0];
    }
  }
}

TEST(TokenizerGolden, DemoModelMatchesItsReferenceVectors) {
  const Tokenizer tokenizer(test::demo_model());
  const Json reference = read_json(test::demo_model() / "reference.json");
  ASSERT_GE(reference["tokenizer"].size(), 16U);
  for (const Json& sample : reference["tokenizer"]) {
    const auto text = sample["text"].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text), sample["ids"].get<Ids>()) << sample["text"];
    EXPECT_EQ(tokenizer.decode(sample["ids"].get<Ids>()), text);
  }
  EXPECT_EQ(tokenizer.decode(reference["greedy_prompt_ids"].get<Ids>()) +
                tokenizer.decode(reference["greedy_continuation_32"].get<Ids>()),
            reference["greedy_text"].get<std::string>());
}

TEST(TokenizerGolden, DemoModelMatchesTheReferencePackage) {
  const Json models = golden("tokenizer_models.json")["models"];
  ASSERT_EQ(models[0]["path"], "models/demo-5m");
  check(Tokenizer(test::demo_model()), models[0], "demo-5m");
}

TEST(TokenizerGolden, OtherModelsMatchTheReferencePackage) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const Json models = golden("tokenizer_models.json")["models"];
  ASSERT_EQ(models.size(), 3U);
  for (const Json& row : models) {
    const auto path = row["path"].get<std::string>();
    check(Tokenizer(test::shared_data() / path), row, path);
  }
}

TEST(TokenizerGolden, EveryComponentMatchesTheReferencePackage) {
  const Json file = golden("tokenizer_components.json");
  ASSERT_GE(file["variants"].size(), 28U);
  for (const Json& row : file["variants"]) {
    const Json& base = file["models"][row["byte_level"].get<bool>() ? 0 : 1];
    ASSERT_EQ(base["byte_level"], row["byte_level"]);
    Json json = {{"version", "1.0"}, {"added_tokens", base["added_tokens"]}, {"model", base["model"]}};
    for (const char* part : {"normalizer", "pre_tokenizer", "decoder"}) json[part] = row[part];
    for (const auto& [key, value] : row["options"].items()) json["model"][key] = value;
    check(test::load_tokenizer(json.dump()), row, row["name"].get<std::string>());
  }
}

TEST(TokenizerGolden, UnigramsMatchTheReferencePackage) {
  const Json file = golden("tokenizer_unigram.json");
  ASSERT_EQ(file["variants"].size(), 4U);
  for (const Json& row : file["variants"]) {
    Json json = {{"version", "1.0"}, {"added_tokens", row["added_tokens"]}, {"model", file["models"][0]}};
    for (const char* part : {"normalizer", "pre_tokenizer", "decoder"}) json[part] = row[part];
    for (const auto& [key, value] : row["options"].items()) json["model"][key] = value;
    check(test::load_tokenizer(json.dump()), row, row["name"].get<std::string>());
  }
}

TEST(TokenizerGolden, Gpt2FilesMatchTheVectorsOfLlamaCpp) {
  SCALEBITS_NEEDS_SHARED_DATA();
  test::expect_llama_cpp_vectors(Tokenizer(test::shared_data() / "tokenizers/gpt2"), "gpt-2");
}

TEST(TokenizerGolden, Qwen2FilesMatchTheVectorsOfLlamaCpp) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const Tokenizer tokenizer(test::shared_data() / "tokenizers/qwen2.5");
  test::expect_llama_cpp_vectors(tokenizer, "qwen2");
  test::expect_llama_cpp_vectors(tokenizer, "deepseek-r1-qwen");
}

}  // namespace
}  // namespace scalebits
