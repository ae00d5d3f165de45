// SPDX-License-Identifier: Apache-2.0
/// Orders of channels, and how they are stored (docs/format.md).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace scalebits {

/// perm[new_index] = old_index. Empty means identity.
using Permutation = std::vector<int32_t>;

/// Order of the rows and of the columns of one matrix.
struct RowColOrder {
  Permutation rows, cols;
  bool operator==(const RowColOrder&) const = default;
};

/// Bytes of an entry: I16 while every index fits in it, else I32.
constexpr int64_t permutation_entry_bytes(int64_t length) { return length <= 32768 ? 2 : 4; }
inline int64_t permutation_bytes(const Permutation& perm) {
  const auto length = static_cast<int64_t>(perm.size());
  return length * permutation_entry_bytes(length);
}

/// 0, 1, .. n - 1
Permutation identity_permutation(int64_t n);

/// Each of 0..perm.size()-1 once. Empty is the identity and always good.
/// @throws FormatError naming `where` and `what`
void check_permutation(const std::string& where, const std::string& what, const Permutation& perm);

/// Little endian.
std::vector<uint8_t> store_permutation(const Permutation& perm);
/// @param bytes n * permutation_entry_bytes(n) of them
/// @throws FormatError naming `where` when they are no permutation of 0..n-1
Permutation load_permutation(std::span<const uint8_t> bytes, int64_t n, const std::string& where);

}  // namespace scalebits
