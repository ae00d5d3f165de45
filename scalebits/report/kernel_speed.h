// SPDX-License-Identifier: Apache-2.0
/// How fast products with packed matrices are on this machine, beside a plain read of memory.
#pragma once

#include <cstdint>
#include <vector>

#include "scalebits/base/log.h"

namespace scalebits {

/// One matrix: all blocks at one width, or (bits 0) each at one of 2..5, the same number of each, in random order.
struct KernelSpeed {
  int bits = 0;
  double mean_bits = 0;  ///< of the codes
  int threads = 1;
  double gbps = 0;           ///< packed bytes (all streams) a second / 1e9
  double read_gbps = 0;      ///< of a plain read, measured in turns with the product
  double share = 0;          ///< gbps / read_gbps
  double ns_per_weight = 0;  ///< and token
};

struct KernelSpeedOptions {
  int64_t rows = 16384, cols = 8192;
  int64_t n_tokens = 1;
  int repetitions = 15;
  std::vector<int> threads = {1};
};

/// Medians over the repetitions; share is the median of each repetition's own ratio, because other work on the machine
/// slows both of a pair. Widths 1..8 and the mixed map, for each number of threads. Leaves set_num_threads(0).
/// @throws InvalidArgument for sizes that are no matrix
std::vector<KernelSpeed> measure_kernels(const KernelSpeedOptions& options, Log& log);

}  // namespace scalebits
