// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with activations in 8 bits.
#include "scalebits/kernels/avx2_kernels.h"
#include "scalebits/kernels/avx2_panels.h"

namespace scalebits::avx2 {
namespace {

/// How far ahead of what is in use memory is asked for, in bytes: of the codes, and of scales and zero points, whose
/// streams are read as many times more slowly as codes take more bytes.
constexpr int kAhead = 8192;
constexpr int kParamsAhead = 512;

inline __m256i broadcast(const int8_t* four) {
  int word;
  __builtin_memcpy(&word, four, 4);
  return _mm256_set1_epi32(word);
}

inline __m256i broadcast_pair(const int8_t* two) {
  short word;
  __builtin_memcpy(&word, two, 2);
  return _mm256_set1_epi16(word);
}

/// How many parts of an activation weights of a width take.
template <int Bits>
constexpr int n_parts = Bits < kTwoPartBits ? 1 : 2;

/// Tiles whose products may be added up in 16 bits, two columns a word: 2 * kInWords * 127 * (2^Bits - 1) < 2^15.
template <int Bits>
constexpr int kInWords = Bits <= 5   ? 4
                         : Bits == 6 ? 2
                                     : 1;

/// sums[half] += codes of N tiles times the values of one token, those of a tile x_step behind those of the one before.
template <int Bits, int N>
inline void add_products(const Tile* tiles, const int8_t* x, int64_t x_step, __m256i* sums) {
  for (int h = 0; h < 2; ++h) {
    if constexpr (Bits == 8) {
      // Two products of 8 bits do not fit in a word, so both sides are widened: columns 0 and 2, and 1 and 3.
      for (int i = 0; i < N; ++i) {
        const __m256i values = broadcast(x + i * x_step), codes = tiles[i].half[h];
        const __m256i even = _mm256_madd_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(255)),
                                               _mm256_srai_epi16(_mm256_slli_epi16(values, 8), 8));
        const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(codes, 8), _mm256_srai_epi16(values, 8));
        sums[h] = _mm256_add_epi32(sums[h], _mm256_add_epi32(even, odd));
      }
    } else {
      constexpr int kStep = kInWords<Bits> < N ? kInWords<Bits> : N;
      for (int i = 0; i < N; i += kStep) {
        __m256i words = _mm256_maddubs_epi16(tiles[i].half[h], broadcast(x + i * x_step));
        for (int j = i + 1; j < i + kStep; ++j) {
          words = _mm256_add_epi16(words, _mm256_maddubs_epi16(tiles[j].half[h], broadcast(x + j * x_step)));
        }
        sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
      }
    }
  }
}

/// dots[p * T + t] = codes of the group's tiles times part p of the values of token t.
/// @tparam Stored  bits that a code takes where the tiles lie: Bits, or 8 for tiles that are unpacked
template <int Bits, int Stored, int P, int T>
inline void dot_tiles(const uint8_t* codes, int64_t n_tiles, const int8_t* const* x, Tile* dots) {
  constexpr int kUnroll = 4;
  for (int i = 0; i < P * T; ++i) dots[i].half[0] = dots[i].half[1] = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + kUnroll <= n_tiles; i += kUnroll) {
    for (int ahead = 0; ahead < kUnroll * 8 * Stored; ahead += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead + ahead, _MM_HINT_T0);
    }
    Tile tiles[kUnroll];
#pragma GCC unroll 4
    for (int j = 0; j < kUnroll; ++j) tiles[j] = tile_codes<Stored>(codes + j * 8 * Stored);
#pragma GCC unroll 8
    for (int s = 0; s < P * T; ++s) {
      add_products<Bits, kUnroll>(tiles, x[s / T] + (i * T + s % T) * 4, 4 * T, dots[s].half);
    }
    codes += kUnroll * 8 * Stored;
  }
  for (; i < n_tiles; ++i) {
    const Tile tile = tile_codes<Stored>(codes);
    for (int s = 0; s < P * T; ++s) add_products<Bits, 1>(&tile, x[s / T] + (i * T + s % T) * 4, 4 * T, dots[s].half);
    codes += 8 * Stored;
  }
}

/// The same at 2 bits, where a byte is a row: as words of two codes, which are two thirds of the instructions.
template <int T>
inline void dot_rows(const uint8_t* codes, int64_t n_tiles, const int8_t* x, Tile* dots) {
  constexpr int kUnroll = 4;
  constexpr int64_t kMostTiles = 40;  // whose products may be added up in 16 bits: 40 * 2 * 3 * 127 < 2^15
  const __m256i mask = _mm256_set1_epi16(0x0303), ones = _mm256_set1_epi16(1);
  __m256i low[T], high[T];  // rows 0 to 3 and 8 to 11, rows 4 to 7 and 12 to 15
  for (int t = 0; t < T; ++t) low[t] = high[t] = _mm256_setzero_si256();
  for (int64_t first = 0; first < n_tiles; first += kMostTiles) {
    __m256i left[T], right[T];  // of columns 0 and 1, of columns 2 and 3
    for (int t = 0; t < T; ++t) left[t] = right[t] = _mm256_setzero_si256();
    const auto add = [&](int64_t i) {
      const __m256i rows = _mm256_cvtepu8_epi16(load16(codes + i * 16));
      const __m256i spread = _mm256_or_si256(rows, _mm256_slli_epi16(rows, 6));
      const __m256i code01 = _mm256_and_si256(spread, mask);
      const __m256i code23 = _mm256_and_si256(_mm256_srli_epi16(spread, 4), mask);
      for (int t = 0; t < T; ++t) {
        const int8_t* values = x + (i * T + t) * 4;
        left[t] = _mm256_add_epi16(left[t], _mm256_maddubs_epi16(code01, broadcast_pair(values)));
        right[t] = _mm256_add_epi16(right[t], _mm256_maddubs_epi16(code23, broadcast_pair(values + 2)));
      }
    };
    const int64_t end = at_most(first + kMostTiles, n_tiles);
    int64_t i = first;
    for (; i + kUnroll <= end; i += kUnroll) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + i * 16 + kAhead, _MM_HINT_T0);
#pragma GCC unroll 4
      for (int j = 0; j < kUnroll; ++j) add(i + j);
    }
    for (; i < end; ++i) add(i);
    for (int t = 0; t < T; ++t) {
      low[t] = _mm256_add_epi32(low[t], _mm256_madd_epi16(_mm256_unpacklo_epi16(left[t], right[t]), ones));
      high[t] = _mm256_add_epi32(high[t], _mm256_madd_epi16(_mm256_unpackhi_epi16(left[t], right[t]), ones));
    }
  }
  for (int t = 0; t < T; ++t) {
    dots[t].half[0] = _mm256_permute2x128_si256(low[t], high[t], 0x20);
    dots[t].half[1] = _mm256_permute2x128_si256(low[t], high[t], 0x31);
  }
}

/// y[t] = fma(fma(-zero, sum[t], dot[t]), scale * x_scale[t], y[t]) for 16 rows; @param first  of x's scales and sums
template <int T>
inline void add_group(const Tile* dots, const GroupStrip& group, const Int8Tokens::Part& x, int64_t first, float* y,
                      int64_t y_stride) {
  for (int t = 0; t < T; ++t) {
    const __m256 x_scale = _mm256_set1_ps(x.scales[first + t]), x_sum = _mm256_set1_ps(x.sums[first + t]);
    for (int h = 0; h < 2; ++h) {
      float* to = y + t * y_stride + group.strip * 16 + h * 8;
      const __m256 dot = _mm256_fnmadd_ps(group.zero.half[h], x_sum, _mm256_cvtepi32_ps(dots[t].half[h]));
      const __m256 factor = _mm256_mul_ps(group.scale.half[h], x_scale);
      _mm256_storeu_ps(to, _mm256_fmadd_ps(dot, factor, _mm256_loadu_ps(to)));
    }
  }
}

template <int T>
struct Int8Product {
  const Int8Tokens& x;
  int64_t n_strips;
  float* y;
  int64_t y_stride;

  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    // Both parts of few tokens at once, so that tiles are unpacked once; of many the sums would not fit in registers.
    constexpr int kAtOnce = T <= 2 ? n_parts<Bits> : 1;
    prefetch_params(s, cols, n_strips, kParamsAhead);
    for_each_group<Bits>(s, cols, n_strips, [&](const GroupStrip& group) {
      for (int p = 0; p < n_parts<Bits>; p += kAtOnce) {
        const int8_t* values[kAtOnce];
        for (int q = 0; q < kAtOnce; ++q) values[q] = x.parts[p + q].values + group.col * T;
        Tile dots[kAtOnce * T];
        if constexpr (Bits == 2 && T <= 2) {
          dot_rows<T>(group.codes, group.n_tiles, values[0], dots);
        } else {
          dot_tiles<Bits, Bits, kAtOnce, T>(group.codes, group.n_tiles, values, dots);
        }
        for (int q = 0; q < kAtOnce; ++q)
          add_group<T>(dots + q * T, group, x.parts[p + q], group.index * T, y, y_stride);
      }
    });
  }
};

template <int T>
void gemv_int8_of(const PackedPanels& w, int64_t panel, const Int8Tokens& x, float* y, int64_t y_stride) {
  Int8Product<T> product{x, strips_of(w, panel), y, y_stride};
  clear(T, product.n_strips, y, y_stride);
  for_each_block(w, panel, product);
}

void gemv_int8(const PackedPanels& w, int64_t panel, const Int8Tokens& x, float* y, int64_t y_stride) noexcept {
  using Function = void (*)(const PackedPanels&, int64_t, const Int8Tokens&, float*, int64_t);
  static constexpr Function kOf[] = {gemv_int8_of<1>, gemv_int8_of<2>, gemv_int8_of<3>, gemv_int8_of<4>,
                                     gemv_int8_of<5>, gemv_int8_of<6>, gemv_int8_of<7>, gemv_int8_of<8>};
  kOf[x.n_tokens - 1](w, panel, x, y, y_stride);
}

/// Tiles that are unpacked once for all sets of tokens: 16 KB.
constexpr int64_t kMostTiles = 256;

struct Int8Products {
  const Int8Tokens* x;
  int64_t n_sets, n_strips;
  float* y;
  int64_t y_stride;
  alignas(32) uint8_t tiles[kMostTiles * 64];

  /// @param parts  of the activations
  template <int Bits, int T>
  void add_set(int64_t set, const GroupStrip& group, int parts) {
    for (int p = 0; p < parts; ++p) {
      Tile dots[T];
      const int8_t* values = x[set].parts[p].values + group.col * T;
      dot_tiles<Bits, 8, 1, T>(tiles, group.n_tiles, &values, dots);
      add_group<T>(dots, group, x[set].parts[p], group.index * T, y + set * kMaxGemvTokens * y_stride, y_stride);
    }
  }

  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    constexpr int kAs = Bits < 5 ? 5 : Bits;  // fewer bits are summed in the same way
    for_each_group<Bits>(s, cols, n_strips, [&](const GroupStrip& group) {
      for (int64_t i = 0; i < group.n_tiles; ++i) {
        const Tile tile = tile_codes<Bits>(group.codes + i * 8 * Bits);
        for (int h = 0; h < 2; ++h)
          _mm256_store_si256(reinterpret_cast<__m256i*>(tiles + i * 64 + h * 32), tile.half[h]);
      }
      for (int64_t set = 0; set < n_sets; ++set) {
        switch (x[set].n_tokens) {
          case 1:
            add_set<kAs, 1>(set, group, n_parts<Bits>);
            break;
          case 2:
            add_set<kAs, 2>(set, group, n_parts<Bits>);
            break;
          case 3:
            add_set<kAs, 3>(set, group, n_parts<Bits>);
            break;
          case 4:
            add_set<kAs, 4>(set, group, n_parts<Bits>);
            break;
          case 5:
            add_set<kAs, 5>(set, group, n_parts<Bits>);
            break;
          case 6:
            add_set<kAs, 6>(set, group, n_parts<Bits>);
            break;
          case 7:
            add_set<kAs, 7>(set, group, n_parts<Bits>);
            break;
          default:
            add_set<kAs, 8>(set, group, n_parts<Bits>);
            break;
        }
      }
    });
  }
};

void gemm_int8(const PackedPanels& w, int64_t panel, const Int8Tokens* x, int64_t n_sets, float* y,
               int64_t y_stride) noexcept {
  if (n_sets == 1 || w.group_size > 4 * kMostTiles) {
    for (int64_t i = 0; i < n_sets; ++i) gemv_int8(w, panel, x[i], y + i * kMaxGemvTokens * y_stride, y_stride);
    return;
  }
  Int8Products products{x, n_sets, strips_of(w, panel), y, y_stride, {}};
  for (int64_t i = 0; i < n_sets; ++i) {
    clear(x[i].n_tokens, products.n_strips, y + i * kMaxGemvTokens * y_stride, y_stride);
  }
  for_each_block(w, panel, products);
}

}  // namespace

const KernelTable kTable = {.name = "avx2",
                            .gemv = gemv,
                            .gemv_int8 = gemv_int8,
                            .gemm_int8 = gemm_int8,
                            .decode_panel = decode_panel,
                            .gemv_bf16 = gemv_bf16,
                            .attend = attend,
                            .quantize_group = quantize_group,
                            .swiglu = swiglu,
                            .geglu = geglu,
                            .read = read};

}  // namespace scalebits::avx2
