// SPDX-License-Identifier: Apache-2.0
/// Any bytes as a GGUF file: it is refused with a library error, or every value and tensor can be read; and where it
/// holds a vocabulary, texts go through its tokenizer.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "scalebits/base/errors.h"
#include "scalebits/io/gguf.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

template <class Call>
void try_call(const Call& call) {
  try {
    call();
  } catch (const scalebits::FormatError& error) {
    require(std::string_view(error.what()).size() < 2000);
  } catch (const scalebits::Unsupported& error) {
    require(std::string_view(error.what()).size() < 2000);
  }
}

void read_all(const std::string& path) {
  const scalebits::GgufFile file(path);
  unsigned sum = 0;
  for (const auto& tensor : file.tensors()) {
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
  }
  for (const char* key : {"general.name", "general.alignment", "tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                          "tokenizer.ggml.token_type", "tokenizer.ggml.add_bos_token"}) {
    try_call([&] { sum += static_cast<unsigned>(file.text(key).value_or("").size()); });
    try_call([&] { sum += static_cast<unsigned>(file.integer(key, 0, 1000).value_or(0)); });
    try_call([&] { sum += file.flag(key).value_or(false) ? 1U : 0U; });
    try_call([&] { sum += static_cast<unsigned>(file.texts(key).value_or(std::vector<std::string_view>()).size()); });
    try_call([&] { sum += static_cast<unsigned>(file.floats(key).value_or(std::vector<float>()).size()); });
    try_call([&] { sum += static_cast<unsigned>(file.integers(key).value_or(std::vector<int32_t>()).size()); });
  }
  require(sum != 0xffffffffU);
}

void tokenize(const std::string& path) {
  const scalebits::Tokenizer tokenizer(path);
  for (const std::string_view text : {"<s>ab  a12 abc</s>\n", "\xc3\xa9 e\xcc\x81\xe6\x97\xa5 \xf0\x9f\x99\x82"}) {
    for (const bool special : {true, false}) {
      const auto ids = tokenizer.encode(text, special);
      for (const auto id : ids) require(!tokenizer.id_to_token(id).empty());
      require(scalebits::find_invalid_utf8(tokenizer.decode(ids, false)) == std::string::npos);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = memfd_create("input", 0);
  require(ftruncate(fd, 0) == 0);
  require(pwrite(fd, data, size, 0) == static_cast<ssize_t>(size));
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  try_call([&] { read_all(path); });
  if (size >= 4 && std::string_view(reinterpret_cast<const char*>(data), 4) == "GGUF")
    try_call([&] { tokenize(path); });
  return 0;
}
