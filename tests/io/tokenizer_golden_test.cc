// SPDX-License-Identifier: Apache-2.0
/// The tokenizer against others: the `tokenizers` package (tools/golden/tokenizer_golden.py), llama.cpp's vectors, and
/// the demo model's own reference.json.
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

std::vector<std::string> split_at(std::string_view text, std::string_view separator) {
  std::vector<std::string> parts;
  for (size_t end = 0; end != std::string_view::npos;) {
    end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end != std::string_view::npos) text.remove_prefix(end + separator.size());
  }
  return parts;
}

/// tokenizer.json around the vocab.json and merges.txt of a model.
Tokenizer from_vocabulary(const std::string& folder, const Json& normalizer, const Json& pre_tokenizer) {
  const std::filesystem::path dir = test::shared_data() / "tokenizers" / folder;
  std::vector<std::string> merges = split_at(read_text_file(dir / "merges.txt"), "\n");
  if (merges.back().empty()) merges.pop_back();
  Json json = {{"version", "1.0"}, {"normalizer", normalizer}, {"pre_tokenizer", pre_tokenizer}};
  json["decoder"] = {{"type", "ByteLevel"}};
  json["model"] = {{"type", "BPE"}, {"vocab", read_json(dir / "vocab.json")}, {"merges", merges}};
  return test::load_tokenizer(json.dump());
}

void check_llama_cpp(const Tokenizer& tokenizer, const std::string& name) {
  const std::filesystem::path base =
      test::shared_data() / "tokenizers/llama.cpp-vocab" / ("ggml-vocab-" + name + ".gguf");
  const auto inputs = split_at(read_text_file(base.string() + ".inp"), "\n__ggml_vocab_test__\n");
  const auto outputs = split_at(read_text_file(base.string() + ".out"), "\n");
  ASSERT_GE(inputs.size(), 46U);
  ASSERT_GE(outputs.size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    Ids expected;
    std::istringstream line(outputs[i]);
    for (TokenId id = 0; line >> id;) expected.push_back(id);
    EXPECT_EQ(tokenizer.encode(inputs[i]), expected) << i << ": " << inputs[i];
    EXPECT_EQ(tokenizer.decode(expected), inputs[i]);
  }
}

TEST(TokenizerGolden, Gpt2MatchesTheVectorsOfLlamaCpp) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const Json pre_tokenizer = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  check_llama_cpp(from_vocabulary("gpt2", nullptr, pre_tokenizer), "gpt-2");
}

TEST(TokenizerGolden, Qwen2MatchesTheVectorsOfLlamaCpp) {
  SCALEBITS_NEEDS_SHARED_DATA();
  const Json split = parse_json(R"json({"type": "Split", "behavior": "Isolated", "invert": false, "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}})json",
                                "qwen2");
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const Json pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", Json::array({split, bytes})}};
  check_llama_cpp(from_vocabulary("qwen2.5", {{"type", "NFC"}}, pre_tokenizer), "qwen2");
}

}  // namespace
}  // namespace scalebits
