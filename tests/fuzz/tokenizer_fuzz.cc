// SPDX-License-Identifier: Apache-2.0
/// Any text through a byte-level tokenizer (models/demo-5m): what encode() gives, decode() and StreamDecoder turn back
/// into the same bytes; text that is not UTF-8 is refused.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer.h"

namespace {

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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const scalebits::Tokenizer tokenizer(SCALEBITS_SOURCE_DIR "/models/demo-5m");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (scalebits::find_invalid_utf8(text) == std::string_view::npos) {
    round_trip(tokenizer, text, true);
    round_trip(tokenizer, text, false);
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
