// SPDX-License-Identifier: Apache-2.0
/// For targets that read any bytes as a tokenizer's file: it is refused with a library error, or gives a tokenizer
/// whose encode() and decode() stay inside its vocabulary and agree with StreamDecoder.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"
#include "scalebits/io/tokenizer.h"

namespace scalebits::fuzz {

inline void require(bool condition) {
  if (!condition) std::abort();
}

/// A directory of this process; removed at exit.
struct Directory {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("tokenizer-fuzz-" + std::to_string(getpid()));
  Directory() { std::filesystem::create_directories(path); }
  ~Directory() { std::filesystem::remove_all(path); }
};

inline void use(const Tokenizer& tokenizer) {
  for (const std::string_view text : {"<s>ab  a12 abc</s>\n", "\xc3\xa9 e\xcc\x81\xe6\x97\xa5 \xf0\x9f\x99\x82"}) {
    const auto ids = tokenizer.encode(text);
    for (const auto id : ids) require(!tokenizer.id_to_token(id).empty());
    const std::string decoded = tokenizer.decode(ids, false);
    require(find_invalid_utf8(decoded) == std::string::npos);
    StreamDecoder decoder(tokenizer, false);
    std::string streamed;
    for (const auto id : ids) streamed += decoder.push(id);
    streamed += decoder.finish();
    require(streamed == decoded);
  }
}

/// @param name  of the file in its directory, which says what it is read as
inline int read_tokenizer_file(const char* name, const uint8_t* data, size_t size) {
  static const Directory directory;
  std::ofstream(directory.path / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    use(Tokenizer(directory.path));
  } catch (const FormatError& error) {
    require(std::string_view(error.what()).size() < 2000);
  } catch (const Unsupported& error) {
    require(std::string_view(error.what()).size() < 2000);
  }
  return 0;
}

}  // namespace scalebits::fuzz
