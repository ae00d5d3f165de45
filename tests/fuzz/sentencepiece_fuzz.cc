// SPDX-License-Identifier: Apache-2.0
/// Any bytes as tokenizer.model.
#include "tests/fuzz/tokenizer_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return scalebits::fuzz::read_tokenizer_file("tokenizer.model", data, size);
}
