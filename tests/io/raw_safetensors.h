// SPDX-License-Identifier: Apache-2.0
/// safetensors files put together by hand, so that tests of the reader do not rest on our writer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace scalebits::test {

/// Header length (8 bytes, little endian), header, data.
inline std::string raw_safetensors(std::string_view header, std::string_view data) {
  std::string file;
  for (size_t i = 0; i < 8; ++i) file += static_cast<char>((static_cast<uint64_t>(header.size()) >> (8 * i)) & 0xffU);
  return file.append(header).append(data);
}

/// A file of one U8 tensor with `data` as its bytes.
inline std::string one_tensor_file(const std::string& name, const std::string& data) {
  const std::string n = std::to_string(data.size());
  return raw_safetensors("{\"" + name + R"(":{"dtype":"U8","shape":[)" + n + R"(],"data_offsets":[0,)" + n + "]}}",
                         data);
}

}  // namespace scalebits::test
