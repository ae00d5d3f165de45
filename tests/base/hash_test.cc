// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/hash.h"

#include <gtest/gtest.h>

namespace scalebits {
namespace {

// XXH3_64bits of no bytes with seed 0: the published vector of the xxHash project.
TEST(Hash, EmptyInputHasThePublishedValue) {
  EXPECT_EQ(hash_hex(std::string_view()), "2d06800538d394c2");
  EXPECT_EQ(hash_bytes({}), 0x2d06800538d394c2ULL);
  EXPECT_EQ(Hasher().hex(), "2d06800538d394c2");
}

TEST(Hash, PiecesGiveTheHashOfTheWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 7 + i / 256);
  for (const size_t piece : {1U, 3U, 240U, 256U, 1024U, 4999U}) {
    Hasher hasher;
    for (size_t at = 0; at < text.size(); at += piece) hasher.update(std::string_view(text).substr(at, piece));
    EXPECT_EQ(hasher.hex(), hash_hex(text)) << piece;
  }
}

TEST(Hash, OneBitChangesIt) {
  std::string text(300, 'x');
  const std::string before = hash_hex(text);
  text[299] ^= 1;
  EXPECT_NE(hash_hex(text), before);
}

TEST(Hash, HexIsAlwaysSixteenLowerCaseDigits) {
  for (int i = 0; i < 200; ++i) {
    const std::string hex = hash_hex(std::string(static_cast<size_t>(i), 'a'));
    EXPECT_EQ(hex.size(), 16U);
    EXPECT_EQ(hex.find_first_not_of("0123456789abcdef"), std::string::npos) << hex;
  }
}

TEST(Hash, AMovedHasherGoesOn) {
  Hasher first;
  first.update("ab");
  Hasher second = std::move(first);
  second.update("c");
  EXPECT_EQ(second.hex(), hash_hex(std::string_view("abc")));
}

}  // namespace
}  // namespace scalebits
