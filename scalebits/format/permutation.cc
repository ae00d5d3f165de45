// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/permutation.h"

#include <numeric>

#include "scalebits/base/errors.h"

namespace scalebits {

Permutation identity_permutation(int64_t n) {
  Permutation perm(static_cast<size_t>(n));
  std::iota(perm.begin(), perm.end(), 0);
  return perm;
}

void check_permutation(const std::string& where, const std::string& what, const Permutation& perm) {
  std::vector<bool> seen(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) {
    const int32_t old = perm[i];
    if (old < 0 || static_cast<size_t>(old) >= perm.size()) {
      fail<FormatError>(where, "{}[{}]: got {}, expected an index in 0..{}", what, i, old, perm.size() - 1);
    }
    if (seen[static_cast<size_t>(old)]) fail<FormatError>(where, "{}[{}]: got {} a second time", what, i, old);
    seen[static_cast<size_t>(old)] = true;
  }
}

std::vector<uint8_t> store_permutation(const Permutation& perm) {
  const int64_t size = permutation_entry_bytes(static_cast<int64_t>(perm.size()));
  std::vector<uint8_t> bytes;
  bytes.reserve(perm.size() * static_cast<size_t>(size));
  for (const int32_t old : perm) {
    for (int64_t b = 0; b < size; ++b) bytes.push_back(static_cast<uint8_t>(static_cast<uint32_t>(old) >> (8 * b)));
  }
  return bytes;
}

Permutation load_permutation(std::span<const uint8_t> bytes, int64_t n, const std::string& where) {
  const int64_t size = permutation_entry_bytes(n);
  // Divided, not multiplied: n may be anything.
  if (static_cast<int64_t>(bytes.size()) % size != 0 || static_cast<int64_t>(bytes.size()) / size != n) {
    fail<FormatError>(where, "permutation: got {} bytes, expected {} entries of {} bytes", bytes.size(), n, size);
  }
  Permutation perm(static_cast<size_t>(n));
  for (size_t i = 0; i < perm.size(); ++i) {
    const uint8_t* entry = bytes.data() + i * static_cast<size_t>(size);
    const auto low = static_cast<uint32_t>(entry[0] | (entry[1] << 8));
    perm[i] = size == 2 ? static_cast<int16_t>(low)
                        : static_cast<int32_t>(low | (static_cast<uint32_t>(entry[2]) << 16) |
                                               (static_cast<uint32_t>(entry[3]) << 24));
  }
  check_permutation(where, "permutation", perm);
  return perm;
}

}  // namespace scalebits
