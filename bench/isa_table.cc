// SPDX-License-Identifier: Apache-2.0
/// Prints which implementations of the inner loops this machine runs, the chosen one marked (./dev isa).
#include <cstdio>

#include "scalebits/base/errors.h"
#include "scalebits/kernels/dispatch.h"
#include "scalebits/quantize/clip_sums.h"

namespace {

void print_kernels() {
  const scalebits::KernelTable& active = scalebits::active_kernels();
  for (const auto name : scalebits::available_kernels()) {
    const char* mark = name == active.name ? "  <- chosen" : "";
    std::printf("packed products   %-10.*s available%s\n", static_cast<int>(name.size()), name.data(), mark);
  }
}

void print_clip_sums() {
  const scalebits::ClipSums& chosen = scalebits::clip_sums();
  for (const auto& table : scalebits::all_clip_sums()) {
    const char* mark = &table == &chosen ? "  <- chosen" : "";
    std::printf("clip quantizer    %-10s %s%s\n", table.name, table.available() ? "available" : "-", mark);
  }
}

}  // namespace

int main() {
  try {
    print_kernels();
    print_clip_sums();
  } catch (const scalebits::Error& error) {
    std::fprintf(stderr, "isa_table: error: %s\n", error.what());
    return 1;
  }
  return 0;
}
