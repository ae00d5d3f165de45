// SPDX-License-Identifier: Apache-2.0
/// A small random generator whose stream is fixed for ever by its seed: the standard library's distributions differ
/// between implementations, and a run must be repeatable anywhere (users.md, "Reproducibility").
#pragma once

#include <cstdint>

namespace scalebits {

/// splitmix64 (Steele, Lea, Flood 2014; public domain reference by Vigna): one 64-bit word per call, full period 2^64.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  /// An independent stream for item `index` of a run: the same whatever thread draws it.
  Rng(uint64_t seed, uint64_t index) : state_(seed) { state_ = next() ^ (index * 0xd1342543de82ef95ULL); }

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// Uniform in [0, n), n > 0, without modulo bias worth speaking of (n is far below 2^64).
  uint64_t below(uint64_t n) { return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64); }

 private:
  uint64_t state_;
};

}  // namespace scalebits
