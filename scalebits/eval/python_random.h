// SPDX-License-Identifier: Apache-2.0
/// Python's random.Random(seed).sample, number for number: the harness draws its examples with it, and a prompt with
/// other examples gives other scores.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace scalebits {

/// MT19937 (Matsumoto, Nishimura 1998), seeded as CPython's random_seed does it.
class PythonRandom {
 public:
  explicit PythonRandom(uint32_t seed);
  /// getrandbits(bits), 1..32
  uint32_t bits(int bits);
  /// Indices that random.sample(population, k) would take of a population of n >= k.
  std::vector<size_t> sample(size_t n, size_t k);

 private:
  uint32_t next();
  size_t below(size_t n);

  std::array<uint32_t, 624> state_{};
  size_t at_ = 624;
};

}  // namespace scalebits
