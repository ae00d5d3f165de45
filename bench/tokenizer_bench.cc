// SPDX-License-Identifier: Apache-2.0
/// encode() of one core: WikiText-2 test (../shared/data), or the demo model's own README where that is not there.
#include <benchmark/benchmark.h>

#include <filesystem>

#include "scalebits/io/file.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits::bench {
namespace {

std::filesystem::path shared_data() {
  return std::filesystem::path(SCALEBITS_SOURCE_DIR).parent_path() / "shared/data";
}

void encode(benchmark::State& state, const std::filesystem::path& path, const std::string& text) {
  const Tokenizer tokenizer(path);
  size_t tokens = 0;
  for (auto _ : state) tokens = tokenizer.encode(text, false).size();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
  state.counters["tokens"] = static_cast<double>(tokens);
}

void add(const std::string& name, const std::filesystem::path& path, const std::filesystem::path& text) {
  if (!std::filesystem::exists(path) || !std::filesystem::exists(text)) return;
  benchmark::RegisterBenchmark(("encode/" + name + "/" + text.filename().string()).c_str(), encode, path,
                               read_text_file(text))
      ->Unit(benchmark::kMillisecond);
}

const bool kRegistered = [] {
  const std::filesystem::path demo = std::filesystem::path(SCALEBITS_SOURCE_DIR) / "models/demo-5m";
  add("demo-5m", demo, demo / "README.md");
  const auto tokenizers = shared_data() / "tokenizers", texts = shared_data() / "text";
  for (const char* text : {"wikitext-2/wiki.test.raw", "tinyshakespeare/input.txt", "c4/c4_sample.jsonl"}) {
    add("gpt-2", tokenizers / "llama.cpp-vocab/ggml-vocab-gpt-2.gguf", texts / text);
    add("qwen2.5", tokenizers / "qwen2.5", texts / text);
    add("smollm2", tokenizers / "smollm2", texts / text);
    add("phi-3", tokenizers / "llama.cpp-vocab/ggml-vocab-phi-3.gguf", texts / text);
  }
  return true;
}();

}  // namespace
}  // namespace scalebits::bench
