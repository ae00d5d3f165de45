// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/python_random.h"

#include <bit>
#include <numeric>
#include <unordered_set>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

constexpr size_t kWords = 624;

/// The generator's `init_by_array` with a key of one word.
void seed_state(std::array<uint32_t, kWords>& state, uint32_t key) {
  state[0] = 19650218U;
  for (uint32_t i = 1; i < kWords; ++i) state[i] = 1812433253U * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
  size_t i = 1;
  const auto step = [&] {
    if (++i < kWords) return;
    state[0] = state[kWords - 1];
    i = 1;
  };
  for (size_t k = 0; k < kWords; ++k) {
    state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * 1664525U)) + key;
    step();
  }
  for (size_t k = 0; k + 1 < kWords; ++k) {
    state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * 1566083941U)) - static_cast<uint32_t>(i);
    step();
  }
  state[0] = 0x80000000U;
}

}  // namespace

PythonRandom::PythonRandom(uint32_t seed) { seed_state(state_, seed); }

uint32_t PythonRandom::next() {
  constexpr size_t kMiddle = 397;
  if (at_ == kWords) {
    for (size_t i = 0; i < kWords; ++i) {
      const uint32_t y = (state_[i] & 0x80000000U) | (state_[(i + 1) % kWords] & 0x7fffffffU);
      state_[i] = state_[(i + kMiddle) % kWords] ^ (y >> 1) ^ ((y & 1U) != 0 ? 0x9908b0dfU : 0U);
    }
    at_ = 0;
  }
  uint32_t y = state_[at_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680U;
  y ^= (y << 15) & 0xefc60000U;
  return y ^ (y >> 18);
}

uint32_t PythonRandom::bits(int bits) { return next() >> (32 - bits); }

size_t PythonRandom::below(size_t n) {
  const int width = std::bit_width(n);
  SCALEBITS_CHECK(n > 0 && width <= 32);
  for (;;) {
    const size_t drawn = bits(width);
    if (drawn < n) return drawn;
  }
}

std::vector<size_t> PythonRandom::sample(size_t n, size_t k) {
  SCALEBITS_CHECK(k <= n);
  // CPython takes from a shrinking list where that is smaller than the set that it would need.
  size_t set_size = 21;
  if (k > 5) {
    size_t table = 1;
    while (table < 3 * k) table *= 4;
    set_size += table;
  }
  std::vector<size_t> result;
  if (n <= set_size) {
    std::vector<size_t> pool(n);
    std::iota(pool.begin(), pool.end(), size_t{0});
    for (size_t i = 0; i < k; ++i) {
      const size_t j = below(n - i);
      result.push_back(pool[j]);
      pool[j] = pool[n - i - 1];
    }
    return result;
  }
  std::unordered_set<size_t> taken;
  while (result.size() < k) {
    const size_t j = below(n);
    if (taken.insert(j).second) result.push_back(j);
  }
  return result;
}

}  // namespace scalebits
