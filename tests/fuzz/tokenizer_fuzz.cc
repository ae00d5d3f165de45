// SPDX-License-Identifier: Apache-2.0
/// Any text through tokenizers that lose nothing: a byte-level one (models/demo-5m), and three with byte fallback (as
/// tokenizer.json, as GGUF, as tokenizer.model). What encode() gives, decode() and StreamDecoder turn back into the
/// same bytes; text that is not UTF-8 is refused.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer.h"
#include "tests/io/raw_gguf.h"

namespace {

constexpr std::string_view kMark = "\xe2\x96\x81";  // U+2581

void require(bool condition) {
  if (!condition) std::abort();
}

void round_trip(const scalebits::Tokenizer& tokenizer, std::string_view text, bool special) {
  const auto ids = tokenizer.encode(text, special);
  for (const auto id : ids) require(id >= 0 && id < tokenizer.vocab_size());
  require(tokenizer.decode(ids, false) == text);
  scalebits::StreamDecoder decoder(tokenizer, false);
  std::string streamed;
  for (const auto id : ids) {
    const std::string piece = decoder.push(id);
    require(scalebits::find_invalid_utf8(piece) == std::string::npos);
    streamed += piece;
  }
  require(streamed + decoder.finish() == text);
}

/// Without special tokens, whose text would begin a new stretch with a space of its own; U+2581 stands for a space.
void round_trip_fallback(const scalebits::Tokenizer& tokenizer, std::string_view text) {
  std::string expected;
  std::string_view rest = text;
  for (size_t at = 0; (at = rest.find(kMark)) != std::string_view::npos; rest.remove_prefix(at + kMark.size())) {
    expected.append(rest.substr(0, at)).push_back(' ');
  }
  expected += rest;
  const auto ids = tokenizer.encode(text, false);
  for (const auto id : ids) require(id >= 0 && id < tokenizer.vocab_size());
  require(tokenizer.decode(ids, false) == expected);
  scalebits::StreamDecoder decoder(tokenizer, false);
  std::string streamed;
  for (const auto id : ids) streamed += decoder.push(id);
  require(streamed + decoder.finish() == expected);
}

/// Three control tokens, 256 byte tokens, U+2581, letters and a few words of them.
std::vector<std::string> fallback_tokens() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    tokens.push_back(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">");
  }
  tokens.emplace_back(kMark);
  for (const char* letter : {"a", "b", "e", "h", "t", "\xc3\xa9", "<", ">"}) tokens.emplace_back(letter);
  for (const char* end : {"", "a", "t", "th"}) tokens.push_back(std::string(kMark) + (*end != 0 ? end : kMark.data()));
  for (const char* word : {"th", "he", "ab", "the", "\xc3\xa9t"}) tokens.emplace_back(word);
  return tokens;
}

std::string fallback_json() {
  const auto tokens = fallback_tokens();
  std::string vocabulary;
  for (const auto& token : tokens) {
    vocabulary += (vocabulary.empty() ? "\"" : ", \"") + token + "\": " + std::to_string(&token - tokens.data());
  }
  const std::string mark(kMark);
  return R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": ")" + mark +
         R"("}, {"type": "Replace", "pattern": {"String": " "}, "content": ")" + mark +
         R"("}]}, "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": ")" + mark +
         R"("}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
         {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}, "model": {"type": "BPE", "byte_fallback": true,
         "unk_token": "<unk>", "vocab": {)" +
         vocabulary + R"(}, "merges": ["t h", "h e", ")" + mark + " t\", \"" + mark + " " + mark +
         R"(", "th e", "a b"]}})";
}

std::string fallback_gguf() {
  const auto tokens = fallback_tokens();
  std::vector<int32_t> types(tokens.size(), 1);
  std::vector<float> scores(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (id < 259) types[id] = id == 0 ? 2 : id < 3 ? 3 : 6;
    scores[id] = -static_cast<float>(id % 7);
  }
  return scalebits::test::RawGguf()
      .text("tokenizer.ggml.model", "llama")
      .texts("tokenizer.ggml.tokens", tokens)
      .numbers("tokenizer.ggml.token_type", 5, types)
      .numbers("tokenizer.ggml.scores", 6, scores)
      .file();
}

std::vector<scalebits::Tokenizer> fallback_tokenizers() {
  const auto dir = std::filesystem::temp_directory_path() / ("round-trip-fuzz-" + std::to_string(getpid()));
  std::filesystem::create_directories(dir / "pieces");
  std::ofstream(dir / "tokenizer.json") << fallback_json();
  std::ofstream(dir / "x.gguf", std::ios::binary) << fallback_gguf();
  std::vector<scalebits::Tokenizer> result;
  std::filesystem::copy_file(SCALEBITS_SOURCE_DIR "/tests/io/golden/sentencepiece_bpe.model",
                             dir / "pieces/tokenizer.model");
  for (const auto& path : {dir, dir / "x.gguf", dir / "pieces"}) result.emplace_back(path);
  std::filesystem::remove_all(dir);
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const scalebits::Tokenizer tokenizer(SCALEBITS_SOURCE_DIR "/models/demo-5m");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (scalebits::find_invalid_utf8(text) == std::string_view::npos) {
    round_trip(tokenizer, text, true);
    round_trip(tokenizer, text, false);
    static const auto with_fallback = fallback_tokenizers();
    for (const auto& each : with_fallback) round_trip_fallback(each, text);
  } else {
    try {
      static_cast<void>(tokenizer.encode(text));
      require(false);
    } catch (const scalebits::FormatError&) {
    }
  }
  // Any bytes as ids, unknown ones among them: the decoded text is UTF-8, whole or in pieces.
  std::vector<scalebits::TokenId> ids;
  for (size_t i = 0; i + 1 < size; i += 2) ids.push_back((data[i] << 8 | data[i + 1]) - 8);
  const std::string decoded = tokenizer.decode(ids, false);
  require(scalebits::find_invalid_utf8(decoded) == std::string::npos);
  scalebits::StreamDecoder decoder(tokenizer, false);
  std::string streamed;
  for (const auto id : ids) streamed += decoder.push(id);
  streamed += decoder.finish();
  require(streamed == decoded);
  return 0;
}
