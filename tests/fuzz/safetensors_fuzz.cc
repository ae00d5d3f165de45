// SPDX-License-Identifier: Apache-2.0
/// Any bytes as a safetensors file: it is refused with a library error, or every tensor can be read.
/// Input that begins with '{' stands for a file without its length field: the header up to the first newline, then the
/// data. So seeds are text, and mutations of the header do not all die at a wrong length.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "scalebits/base/errors.h"
#include "scalebits/base/parallel.h"
#include "scalebits/io/safetensors.h"

namespace {

std::string file_content(std::string_view input) {
  if (!input.starts_with('{')) return std::string(input);
  const size_t newline = input.find('\n');
  const std::string_view header = input.substr(0, newline);
  std::string content;
  for (size_t i = 0; i < 8; ++i)
    content += static_cast<char>((static_cast<uint64_t>(header.size()) >> (8 * i)) & 0xffU);
  content += header;
  if (newline != std::string_view::npos) content += input.substr(newline + 1);
  return content;
}

void require(bool condition) {
  if (!condition) std::abort();
}

void read_all(const std::filesystem::path& path, size_t file_bytes) {
  const scalebits::SafetensorsFile file(path);
  require(!file.tensors().empty());
  size_t tensor_bytes = 0;
  unsigned sum = 0;
  for (const scalebits::TensorView& tensor : file.tensors()) {
    tensor_bytes += tensor.bytes.size();
    require(static_cast<int64_t>(tensor.bytes.size()) == tensor.n_elements() * scalebits::dtype_bytes(tensor.dtype));
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
    std::vector<float> floats(static_cast<size_t>(tensor.n_elements()));
    try {
      scalebits::read_floats(tensor, floats);
    } catch (const scalebits::FormatError&) {  // no floats, or not finite ones
    }
  }
  require(tensor_bytes < file_bytes && sum < 0xffffffffU);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = memfd_create("input", 0);
  const std::string content = file_content({reinterpret_cast<const char*>(data), size});
  require(ftruncate(fd, 0) == 0);
  require(pwrite(fd, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()));
  scalebits::set_num_threads(1);
  try {
    read_all("/proc/self/fd/" + std::to_string(fd), content.size());
  } catch (const scalebits::FormatError& error) {
    require(std::string_view(error.what()).size() < 2000);
  }
  return 0;
}
