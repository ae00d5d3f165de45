// SPDX-License-Identifier: Apache-2.0
/// Bit packing of small unsigned fields, least significant bit first: eight fields of b bits are b bytes.
#pragma once

#include <cstdint>
#include <span>

namespace scalebits {

/// Fields of `bits` bits, field j in bits [j * bits, (j + 1) * bits) of the little-endian stream `out`.
/// @param fields  a multiple of 8 of them, each below 2^bits
/// @param bits    1..8
/// @param out     fields.size() / 8 * bits bytes, overwritten
void pack_fields(std::span<const uint8_t> fields, int bits, std::span<uint8_t> out);

/// The inverse of pack_fields. `stream` has fields.size() / 8 * bits bytes.
void unpack_fields(std::span<const uint8_t> stream, int bits, std::span<uint8_t> fields);

}  // namespace scalebits
