// SPDX-License-Identifier: Apache-2.0
/// Any bytes as tokenizer.model: they are refused with a library error, or give a tokenizer whose encode() and decode()
/// stay inside its vocabulary.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

/// A directory of this process; removed at exit.
struct Directory {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("sentencepiece-fuzz-" + std::to_string(getpid()));
  Directory() { std::filesystem::create_directories(path); }
  ~Directory() { std::filesystem::remove_all(path); }
};

void use(const scalebits::Tokenizer& tokenizer) {
  for (const std::string_view text : {"<s>ab  a12 abc</s>\n", "\xc3\xa9 e\xcc\x81\xe6\x97\xa5 \xf0\x9f\x99\x82"}) {
    const auto ids = tokenizer.encode(text);
    for (const auto id : ids) require(!tokenizer.id_to_token(id).empty());
    require(scalebits::find_invalid_utf8(tokenizer.decode(ids, false)) == std::string::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Directory directory;
  std::ofstream(directory.path / "tokenizer.model", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    use(scalebits::Tokenizer(directory.path));
  } catch (const scalebits::FormatError& error) {
    require(std::string_view(error.what()).size() < 2000);
  } catch (const scalebits::Unsupported& error) {
    require(std::string_view(error.what()).size() < 2000);
  }
  return 0;
}
