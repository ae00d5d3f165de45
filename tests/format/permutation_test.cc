// SPDX-License-Identifier: Apache-2.0
// How orders of channels are stored, and what is refused when they are read back.
#include "scalebits/format/permutation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::vector<uint8_t>& bytes, int64_t n) {
  try {
    (void)load_permutation(bytes, n, "q_proj.row_perm");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Permutation, IsStoredInTwoBytesAnEntryWhileTheyHoldEveryIndex) {
  EXPECT_EQ(store_permutation({2, 0, 1}), (std::vector<uint8_t>{2, 0, 0, 0, 1, 0}));
  for (const int64_t n : {int64_t{1}, int64_t{32767}, int64_t{32768}, int64_t{32769}, int64_t{70000}}) {
    Permutation perm = identity_permutation(n);
    std::reverse(perm.begin(), perm.end());
    const std::vector<uint8_t> bytes = store_permutation(perm);
    EXPECT_EQ(static_cast<int64_t>(bytes.size()), n * (n <= 32768 ? 2 : 4));
    EXPECT_EQ(permutation_bytes(perm), static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(load_permutation(bytes, n, "here"), perm);
  }
  EXPECT_EQ(permutation_bytes({}), 0);
}

TEST(Permutation, OfIntegersIsLittleEndian) {
  Permutation perm = identity_permutation(65793);
  std::swap(perm.front(), perm.back());
  const std::vector<uint8_t> bytes = store_permutation(perm);
  EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.begin() + 8), (std::vector<uint8_t>{0, 1, 1, 0, 1, 0, 0, 0}));
}

TEST(Permutation, OfAHostileFileIsRefusedByName) {
  EXPECT_THAT(refusal({0, 0, 1, 0}, 3), HasSubstr("[q_proj.row_perm] permutation: got 4 bytes, expected 3 entries"));
  EXPECT_THAT(refusal({0, 0, 1, 0, 2}, 2), HasSubstr("got 5 bytes"));
  EXPECT_THAT(refusal({}, int64_t{1} << 62), HasSubstr("got 0 bytes"));
  EXPECT_THAT(refusal({0, 0, 2, 0}, 2), HasSubstr("permutation[1]: got 2, expected an index in 0..1"));
  EXPECT_THAT(refusal({0, 0, 0, 128}, 2), HasSubstr("got -32768"));
  EXPECT_THAT(refusal({1, 0, 1, 0}, 2), HasSubstr("permutation[1]: got 1 a second time"));
  std::vector<uint8_t> wide = store_permutation(identity_permutation(32769));
  wide[7] = 255;
  EXPECT_THAT(refusal(wide, 32769), HasSubstr("permutation[1]: got -16777215"));
}

}  // namespace
}  // namespace scalebits
