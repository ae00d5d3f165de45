// SPDX-License-Identifier: Apache-2.0
/// Unpacking with AVX-512 VBMI; included by files of that instruction set only, all in an unnamed namespace.
#pragma once

#include "scalebits/kernels/avx512_math.h"
#include "scalebits/kernels/kernels.h"
#include "scalebits/kernels/panels.h"

namespace scalebits::avx512 {
namespace {

struct alignas(64) Bytes {
  uint8_t v[64];
};

/// Brings the 8 codes of each 64-bit lane (`Bits` bytes of the tile) into the lane.
template <int Bits>
constexpr Bytes kSpread = [] {
  Bytes b{};
  for (int i = 0; i < 64; ++i) b.v[i] = static_cast<uint8_t>((i / 8 * Bits + i % 8) & 63);
  return b;
}();
/// Where the code of each byte begins in its lane. At 1 bit all lanes hold the whole tile, and nothing is spread.
template <int Bits>
constexpr Bytes kShift = [] {
  Bytes b{};
  for (int i = 0; i < 64; ++i) b.v[i] = static_cast<uint8_t>(Bits == 1 ? i : i % 8 * Bits);
  return b;
}();

inline __m512i load(const Bytes& b) { return _mm512_load_si512(b.v); }

/// Bytes of a tile, not one more; what follows is undefined.
template <int Bits>
inline __m512i tile_bytes(const uint8_t* p) {
  if constexpr (Bits == 1) {
    long long word;
    __builtin_memcpy(&word, p, 8);
    return _mm512_set1_epi64(word);
  } else if constexpr (Bits == 2) {
    return _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (Bits == 3) {
    return _mm512_castsi256_si512(_mm256_maskz_loadu_epi64(7, p));
  } else if constexpr (Bits == 4) {
    return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  } else if constexpr (Bits == 8) {
    return _mm512_loadu_si512(p);
  } else {
    return _mm512_maskz_loadu_epi64((1 << Bits) - 1, p);
  }
}

/// The 64 codes of a tile as bytes: 16 rows of 4 columns.
template <int Bits>
inline __m512i tile_codes(const uint8_t* p) {
  const __m512i bytes = tile_bytes<Bits>(p);
  if constexpr (Bits == 8) return bytes;
  const __m512i lanes = Bits == 1 ? bytes : _mm512_permutexvar_epi8(load(kSpread<Bits>), bytes);
  return _mm512_and_si512(_mm512_multishift_epi64_epi8(load(kShift<Bits>), lanes), _mm512_set1_epi8((1 << Bits) - 1));
}

/// The next ones are for products with few tokens, which unpacking would otherwise hold up: a permutation and a
/// multishift of a tile compete for one port of Intel's cores.
///
/// At 2 and 4 bits no code straddles two 64-bit words of a tile, so a load that repeats the tile's 2 or 4 words brings
/// every code within reach of the multishift, but pairs of rows come in another order.
/// The pair of rows in 64-bit word i.
template <int Bits>
constexpr int pair_of_word(int i) {
  return Bits == 2 ? i % 2 * 4 + i / 2 : Bits == 4 ? i % 4 * 2 + i / 4 : i;
}
template <int Bits>
constexpr Bytes kRepeatedShift = [] {
  Bytes b{};
  for (int i = 0; i < 64; ++i) b.v[i] = static_cast<uint8_t>((pair_of_word<Bits>(i / 8) * 8 + i % 8) * Bits % 64);
  return b;
}();
/// Which 32-bit lane holds each row.
template <int Bits>
constexpr Bytes kRowLanes = [] {
  Bytes b{};
  for (int i = 0; i < 8; ++i) {
    for (int row = 0; row < 2; ++row) {
      b.v[4 * (2 * pair_of_word<Bits>(i) + row)] = static_cast<uint8_t>(2 * i + row);
    }
  }
  return b;
}();
/// As kSpread, for a load that ends with the tile.
template <int Bits, int Loaded>
constexpr Bytes kSpreadAtEnd = [] {
  Bytes b{};
  for (int i = 0; i < 64; ++i) b.v[i] = static_cast<uint8_t>((Loaded - 8 * Bits + i / 8 * Bits + i % 8) & 63);
  return b;
}();

/// The codes of tile `Tile` of `Tiles` neighbours, rows in the order of kRowLanes<Bits>. Where the width of a load is
/// not that of a tile, it takes bytes of the next tile or, in the last, of the one before, which is faster than a mask.
template <int Bits, int Tiles>
[[gnu::always_inline]] inline __m512i neighbour_codes(const uint8_t* first, int tile) {
  const uint8_t* p = first + tile * 8 * Bits;
  const __m512i mask = _mm512_set1_epi8(static_cast<char>((1 << Bits) - 1));
  if constexpr (Bits == 1 || Bits == 8) {
    return tile_codes<Bits>(p);
  } else if constexpr (Bits == 2 || Bits == 4) {
    const __m512i words = Bits == 2 ? _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))
                                    : _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_and_si512(_mm512_multishift_epi64_epi8(load(kRepeatedShift<Bits>), words), mask);
  } else {
    constexpr int kLoaded = Bits == 3 ? 32 : 64;
    const bool at_end = tile * 8 * Bits + kLoaded > Tiles * 8 * Bits;
    if (at_end) p -= kLoaded - 8 * Bits;
    const __m512i bytes = Bits == 3 ? _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))
                                    : _mm512_loadu_si512(p);
    const __m512i lanes =
        _mm512_permutexvar_epi8(at_end ? load(kSpreadAtEnd<Bits, kLoaded>) : load(kSpread<Bits>), bytes);
    return _mm512_and_si512(_mm512_multishift_epi64_epi8(load(kShift<Bits>), lanes), mask);
  }
}
/// 16 sums of rows in the order of neighbour_codes, from top to bottom.
template <int Bits>
inline __m512i rows_in_order(__m512i sums) {
  if constexpr (Bits == 2 || Bits == 4) return _mm512_permutexvar_epi32(load(kRowLanes<Bits>), sums);
  return sums;
}

/// 16 scales (docs/format.md, "Scales").
inline __m512 scale_values(const uint8_t* p) {
  const __m512i field = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m512i bits = _mm512_slli_epi32(_mm512_add_epi32(field, _mm512_set1_epi32(840)), 20);
  return _mm512_castsi512_ps(_mm512_maskz_mov_epi32(_mm512_test_epi32_mask(field, field), bits));
}

/// 16 zero points of a group with codes of `Bits` bits: fields of Bits + 1 bits in half steps, at 8 bits of 8 in steps.
template <int Bits>
inline __m512 zero_values(const uint8_t* p) {
  constexpr int kField = Bits < 8 ? Bits + 1 : 8;
  if constexpr (kField == 8) {
    const __m512 fields =
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
    return Bits == 8 ? fields : _mm512_mul_ps(fields, _mm512_set1_ps(0.5F));
  } else {
    const __m128i bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1 << 2 * kField) - 1), p);
    const __m128i spread = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kSpread<kField>.v));
    const __m128i shift = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kShift<kField>.v));
    const __m128i fields = _mm_and_si128(_mm_multishift_epi64_epi8(shift, _mm_shuffle_epi8(bytes, spread)),
                                         _mm_set1_epi8((1 << kField) - 1));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(fields)), _mm512_set1_ps(0.5F));
  }
}

/// y of some strips of a panel = 0.
inline void clear(int64_t n_tokens, int64_t n_strips, float* y, int64_t y_stride) {
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t s = 0; s < n_strips; ++s) _mm512_storeu_ps(y + t * y_stride + s * 16, _mm512_setzero_ps());
  }
}

/// Of the zero points of a group in 16 rows.
template <int Bits>
constexpr int kZeroBytes = 2 * (Bits < 8 ? Bits + 1 : 8);

/// visit(codes, tiles, first column, group, scale, zero, strip) for each group of a block in the order of the streams.
template <int Bits, class Visit>
inline void for_each_group(Streams& s, const BlockColumns& cols, int64_t n_strips, const Visit& visit) {
  for (int64_t strip = 0; strip < n_strips; ++strip) {
    int64_t group = cols.first_group;
    for (int64_t col = cols.first; col < cols.end; col += cols.group_size, ++group) {
      const int64_t n_tiles = (at_most(cols.group_size, cols.end - col) + 3) / 4;
      visit(s.codes, n_tiles, col, group, scale_values(s.scales), zero_values<Bits>(s.zeros), strip);
      s.codes += n_tiles * 8 * Bits;
      s.scales += 16;
      s.zeros += kZeroBytes<Bits>;
    }
  }
}

}  // namespace
}  // namespace scalebits::avx512
