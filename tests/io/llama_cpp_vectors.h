// SPDX-License-Identifier: Apache-2.0
/// The test strings of llama.cpp's vocabularies and the ids it expects (special tokens neither added nor read).
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/file.h"
#include "scalebits/io/tokenizer.h"
#include "tests/data.h"

namespace scalebits::test {

inline std::filesystem::path llama_cpp_vocabularies() { return shared_data() / "tokenizers/llama.cpp-vocab"; }

inline std::vector<std::string> split_at(std::string_view text, std::string_view separator) {
  std::vector<std::string> parts;
  for (size_t end = 0; end != std::string_view::npos;) {
    end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end != std::string_view::npos) text.remove_prefix(end + separator.size());
  }
  return parts;
}

/// Encodes all 47 strings of ggml-vocab-`name`.gguf.inp, compares with its .out, and decodes the ids again.
inline void expect_llama_cpp_vectors(const Tokenizer& tokenizer, const std::string& name) {
  const std::string base = (llama_cpp_vocabularies() / ("ggml-vocab-" + name + ".gguf")).string();
  const auto inputs = split_at(read_text_file(base + ".inp"), "\n__ggml_vocab_test__\n");
  const auto outputs = split_at(read_text_file(base + ".out"), "\n");
  ASSERT_EQ(inputs.size(), 47U);
  ASSERT_EQ(outputs.size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::vector<TokenId> expected;
    std::istringstream line(outputs[i]);
    for (TokenId id = 0; line >> id;) expected.push_back(id);
    EXPECT_EQ(tokenizer.encode(inputs[i], false), expected) << name << ", string " << i << ": " << inputs[i];
    EXPECT_EQ(tokenizer.decode(expected, false), inputs[i]) << name << ", string " << i;
  }
}

}  // namespace scalebits::test
