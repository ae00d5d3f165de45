// SPDX-License-Identifier: Apache-2.0
/// Stands in for libFuzzer in builds without clang: gives a fuzz target every file of the folders named as arguments,
/// each whole, each cut short at 16 lengths, and the empty input. A target that objects aborts.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kCuts = 16;

/// From a heap block of exactly this size, so that AddressSanitizer sees the first byte read beyond it.
void give(const std::vector<uint8_t>& bytes, size_t size) {
  const std::vector<uint8_t> input(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
  LLVMFuzzerTestOneInput(input.data(), size);
}

int replay(const std::filesystem::path& folder) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    // The name first: when the target aborts, the last line says on what.
    std::printf("%s\n", entry.path().c_str());
    std::fflush(stdout);
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    for (size_t cut = 0; cut <= kCuts; ++cut) give(bytes, bytes.size() * cut / kCuts);
    ++files;
  }
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  int files = 0;
  for (int i = 1; i < argc; ++i) files += replay(argv[i]);
  // A replay of nothing has proved nothing.
  if (files == 0) std::fprintf(stderr, "no inputs\n");
  return files > 0 ? 0 : 1;
}
