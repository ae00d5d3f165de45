// SPDX-License-Identifier: Apache-2.0
/// Unpacking with AVX2; included by files of that instruction set only, all in an unnamed namespace.
///
/// There is no shift by a different count for each byte, so codes are shifted in words of 16 bits by products with
/// powers of two: the upper half of a product shifts right by 16 less the power, the lower half shifts left by the
/// power.
#pragma once

#include <immintrin.h>

#include "scalebits/kernels/kernels.h"

namespace scalebits::avx2 {
namespace {

/// 16 rows of 4 columns as bytes: rows 0..7, rows 8..15.
struct Tile {
  __m256i half[2];
};
/// One float for each of 16 rows.
struct Rows {
  __m256 half[2];
};

struct alignas(32) Bytes {
  uint8_t v[32];
};
struct alignas(32) Words {
  uint16_t v[16];
};
struct alignas(32) Ints {
  uint32_t v[8];
};
template <class Table>
inline __m256i load(const Table& table) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(table.v));
}
inline __m128i load16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

/// Each 128-bit lane makes 16 codes of 2 * Bits bytes. Where the 16 bytes that are loaded for it begin in the tile: up
/// to 4 bits one load serves both lanes of a half, and no load passes the end of the tile, which may end the stream.
template <int Bits>
constexpr int lane_load(int half, int lane) {
  const int first = 4 * Bits * half + (Bits <= 4 ? 0 : 2 * Bits * lane);
  const int last = Bits == 1 ? 0 : 8 * Bits - 16;
  return first < last ? first : last;
}

template <int Bits, int Half>
inline __m256i lane_bytes(const uint8_t* p) {
  if constexpr (Bits == 1) {
    long long word;
    __builtin_memcpy(&word, p, 8);
    return _mm256_set1_epi64x(word);
  } else if constexpr (Bits <= 4) {
    return _mm256_broadcastsi128_si256(load16(p + lane_load<Bits>(Half, 0)));
  } else {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(p + lane_load<Bits>(Half, 0))),
                                   load16(p + lane_load<Bits>(Half, 1)), 1);
  }
}

/// Word w of a lane is to hold what begins with code 2 * w + Odd, at this bit of the lane's codes.
template <int Bits, int Odd>
constexpr int begin_of(int word) {
  return Bits * (2 * (word % 8) + Odd);
}
/// The two bytes of each word. A shift right by 0 would need the power 16, so what begins with a byte, and then ends in
/// it as well, is taken to the upper byte instead, from where the shift is by 8.
template <int Bits, int Half, int Odd>
constexpr Bytes kSpread = [] {
  Bytes b{};
  for (int i = 0; i < 32; ++i) {
    const int begin = begin_of<Bits, Odd>(i / 2);
    const int lane_begin = 2 * Bits * (2 * Half + i / 16) - lane_load<Bits>(Half, i / 16);
    const int byte = lane_begin + begin / 8 + (Odd == 0 && begin % 8 == 0 ? 0 : i % 2);
    b.v[i] = static_cast<uint8_t>(byte & 15);
  }
  return b;
}();
/// To the lower byte, which is to the right, or an odd code to the upper byte, to the left.
template <int Bits, int Odd>
constexpr Words kShift = [] {
  Words words{};
  for (int w = 0; w < 16; ++w) {
    const int begin = begin_of<Bits, Odd>(w) % 8;
    words.v[w] = static_cast<uint16_t>(1 << (Odd == 1 ? 8 - begin : begin == 0 ? 8 : 16 - begin));
  }
  return words;
}();

/// At 1 bit: the byte and the bit of each code.
template <int Half>
constexpr Bytes kByteOfBit = [] {
  Bytes b{};
  for (int i = 0; i < 32; ++i) b.v[i] = static_cast<uint8_t>(4 * Half + i / 8);
  return b;
}();

/// 32 codes as bytes: 8 rows of 4 columns.
template <int Bits, int Half>
inline __m256i half_codes(const uint8_t* p) {
  const __m256i mask = _mm256_set1_epi8(static_cast<char>((1 << Bits) - 1));
  if constexpr (Bits == 8) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * Half));
  } else if constexpr (Bits == 1) {
    const __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(lane_bytes<1, Half>(p), load(kByteOfBit<Half>)),
                                          _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201)));
    return _mm256_min_epu8(bits, mask);
  } else {
    // The codes of a word: the even one at the bottom of the lower byte, the odd one of the upper byte.
    __m256i even, odd;
    if constexpr (Bits == 4) {
      even = _mm256_cvtepu8_epi16(load16(p + 16 * Half));
    } else {
      const __m256i bytes = _mm256_shuffle_epi8(lane_bytes<Bits, Half>(p), load(kSpread<Bits, Half, 0>));
      even = _mm256_mulhi_epu16(bytes, load(kShift<Bits, 0>));
    }
    if constexpr (Bits <= 4) {
      odd = _mm256_slli_epi16(even, 8 - Bits);  // both codes are in the same bytes
    } else {
      const __m256i bytes = _mm256_shuffle_epi8(lane_bytes<Bits, Half>(p), load(kSpread<Bits, Half, 1>));
      odd = _mm256_mullo_epi16(bytes, load(kShift<Bits, 1>));
    }
    const __m256i upper = _mm256_set1_epi16(static_cast<int16_t>(0xff00));
    return _mm256_and_si256(_mm256_blendv_epi8(even, odd, upper), mask);
  }
}

/// The 64 codes of a tile.
template <int Bits>
inline Tile tile_codes(const uint8_t* p) {
  return {{half_codes<Bits, 0>(p), half_codes<Bits, 1>(p)}};
}

/// 16 scales (docs/format.md, "Scales").
inline Rows scale_values(const uint8_t* p) {
  const auto half = [](const uint8_t* bytes) {
    const __m256i field = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(field, _mm256_set1_epi32(840)), 20);
    return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpeq_epi32(field, _mm256_setzero_si256()), bits));
  };
  return {{half(p), half(p + 8)}};
}

/// The bytes of 8 zero fields, `Bits` bytes that begin with byte `First` of each lane, one field for each 32-bit word.
template <int Bits, int First>
constexpr Bytes kSpreadZeros = [] {
  Bytes b{};
  for (int i = 0; i < 32; ++i) b.v[i] = static_cast<uint8_t>((First + i / 4 * Bits / 8 + i % 4) & 15);
  return b;
}();
template <int Bits>
constexpr Ints kShiftZeros = [] {
  Ints ints{};
  for (int i = 0; i < 8; ++i) ints.v[i] = static_cast<uint32_t>(i * Bits % 8);
  return ints;
}();

/// 8 zero fields of `Bits` bits, from the `Bits` bytes that begin with byte `First` of both lanes.
template <int Bits, int First>
inline __m256 zero_fields(__m256i lanes) {
  const __m256i words =
      _mm256_srlv_epi32(_mm256_shuffle_epi8(lanes, load(kSpreadZeros<Bits, First>)), load(kShiftZeros<Bits>));
  return _mm256_cvtepi32_ps(_mm256_and_si256(words, _mm256_set1_epi32((1 << Bits) - 1)));
}

/// 16 zero points of a group with codes of `Bits` bits: fields of Bits + 1 bits in half steps, at 8 bits of 8 in steps.
template <int Bits>
inline Rows zero_values(const uint8_t* p) {
  constexpr int kField = Bits < 8 ? Bits + 1 : 8;
  // The second load ends with the last field and, up to 7 bits, begins among the fields of the first.
  constexpr int kLoad = kField < 4 ? 4 : 8;
  constexpr int kSecond = 2 * kField - kLoad;
  const auto bytes = [](const uint8_t* from) {
    if constexpr (kLoad == 4) {
      int word;
      __builtin_memcpy(&word, from, 4);
      return _mm256_set1_epi32(word);
    } else {
      long long word;
      __builtin_memcpy(&word, from, 8);
      return _mm256_set1_epi64x(word);
    }
  };
  const __m256 unit = _mm256_set1_ps(Bits < 8 ? 0.5F : 1.0F);
  return {{_mm256_mul_ps(zero_fields<kField, 0>(bytes(p)), unit),
           _mm256_mul_ps(zero_fields<kField, kField - kSecond>(bytes(p + kSecond)), unit)}};
}

}  // namespace
}  // namespace scalebits::avx2
