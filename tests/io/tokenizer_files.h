// SPDX-License-Identifier: Apache-2.0
/// Tokenizer directories for tests, written from JSON.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/file.h"
#include "scalebits/io/json.h"
#include "scalebits/io/tokenizer.h"
#include "tests/data.h"

namespace scalebits::test {

/// Loads a tokenizer from the text of tokenizer.json and, unless empty, of tokenizer_config.json.
inline Tokenizer load_tokenizer(const std::string& json, const std::string& config = "") {
  const TempDir dir;
  write_text_file(dir / "tokenizer.json", json);
  if (!config.empty()) write_text_file(dir / "tokenizer_config.json", config);
  return Tokenizer(dir.path());
}

/// A small byte-level tokenizer: letters a to e, a space, "ab" and "abc" by merges, <s> and </s> added.
inline Json small_tokenizer() {
  return parse_json(R"({"version": "1.0", "added_tokens": [{"id": 8, "content": "<s>", "special": true},
      {"id": 9, "content": "</s>", "special": true}], "normalizer": null, "post_processor": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
      "decoder": {"type": "ByteLevel"},
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "\u0120": 5, "ab": 6, "abc": 7},
                "merges": ["a b", "ab c"]}})",
                    "small");
}

inline std::string stream_decode(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip_special) {
  StreamDecoder decoder(tokenizer, skip_special);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

}  // namespace scalebits::test
