// SPDX-License-Identifier: Apache-2.0
#include "scalebits/format/codes.h"

#include <gtest/gtest.h>

#include <vector>

#include "scalebits/base/rng.h"

namespace scalebits {
namespace {

TEST(Codes, RoundTripEveryCodeAtEveryPositionAndWidth) {
  for (int bits = 1; bits <= 8; ++bits) {
    for (size_t position = 0; position < 64; ++position) {
      for (int code = 0; code < (1 << bits); ++code) {
        // Neighbours all ones (or all zeros), so that a field that spills over is seen.
        for (const int around : {0, (1 << bits) - 1}) {
          std::vector<uint8_t> fields(64, static_cast<uint8_t>(around));
          fields[position] = static_cast<uint8_t>(code);
          std::vector<uint8_t> stream(static_cast<size_t>(8 * bits), 0xaa);
          pack_fields(fields, bits, stream);
          std::vector<uint8_t> back(64, 0x55);
          unpack_fields(stream, bits, back);
          ASSERT_EQ(back, fields) << "bits " << bits << " position " << position << " code " << code;
        }
      }
    }
  }
}

/// The definition: bit k of field j is bit j * bits + k of the stream, counted from the least significant of byte 0.
TEST(Codes, EveryBitLiesWhereTheFormatSays) {
  for (int bits = 1; bits <= 8; ++bits) {
    Rng rng(static_cast<uint64_t>(bits));
    std::vector<uint8_t> fields(64);
    for (auto& field : fields) field = static_cast<uint8_t>(rng.below(1U << bits));
    std::vector<uint8_t> stream(static_cast<size_t>(8 * bits));
    pack_fields(fields, bits, stream);
    for (int j = 0; j < 64; ++j) {
      for (int k = 0; k < bits; ++k) {
        const int at = j * bits + k;
        ASSERT_EQ((stream[static_cast<size_t>(at / 8)] >> (at % 8)) & 1, (fields[static_cast<size_t>(j)] >> k) & 1);
      }
    }
  }
}

TEST(Codes, ThreeBitExampleByHand) {
  const std::vector<uint8_t> fields = {1, 2, 3, 4, 5, 6, 7, 0};
  std::vector<uint8_t> stream(3);
  pack_fields(fields, 3, stream);
  // 1 + 2 * 8 + 3 * 8^2 + 4 * 8^3 + 5 * 8^4 + 6 * 8^5 + 7 * 8^6 = 0x1f58d1
  EXPECT_EQ(stream, (std::vector<uint8_t>{0xd1, 0x58, 0x1f}));
}

}  // namespace
}  // namespace scalebits
