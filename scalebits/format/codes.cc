// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/codes.h"

#include "scalebits/base/errors.h"

namespace scalebits {

// Both loops work on eight fields at a time, which fit a 64-bit word at any width and end on a byte.

void pack_fields(std::span<const uint8_t> fields, int bits, std::span<uint8_t> out) {
  SCALEBITS_DCHECK(fields.size() % 8 == 0 && out.size() == fields.size() / 8 * static_cast<size_t>(bits));
  uint8_t* to = out.data();
  for (size_t first = 0; first < fields.size(); first += 8) {
    uint64_t word = 0;
    for (int j = 0; j < 8; ++j) word |= static_cast<uint64_t>(fields[first + static_cast<size_t>(j)]) << (j * bits);
    for (int byte = 0; byte < bits; ++byte) *to++ = static_cast<uint8_t>(word >> (8 * byte));
  }
}

void unpack_fields(std::span<const uint8_t> stream, int bits, std::span<uint8_t> fields) {
  SCALEBITS_DCHECK(fields.size() % 8 == 0 && stream.size() == fields.size() / 8 * static_cast<size_t>(bits));
  const uint8_t* from = stream.data();
  const uint64_t mask = (1U << bits) - 1U;
  for (size_t first = 0; first < fields.size(); first += 8) {
    uint64_t word = 0;
    for (int byte = 0; byte < bits; ++byte) word |= static_cast<uint64_t>(*from++) << (8 * byte);
    for (int j = 0; j < 8; ++j)
      fields[first + static_cast<size_t>(j)] = static_cast<uint8_t>((word >> (j * bits)) & mask);
  }
}

}  // namespace scalebits
