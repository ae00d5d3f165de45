// SPDX-License-Identifier: Apache-2.0
// Products of packed weights with activations in 8 bits.
#include "scalebits/kernels/avx2_kernels.h"
#include "scalebits/kernels/avx2_panels.h"

namespace scalebits::avx2 {
namespace {

/// How far ahead of the codes in use memory is asked for, in bytes.
constexpr int kAhead = 2048;

inline __m256i broadcast(const int8_t* four) {
  int word;
  __builtin_memcpy(&word, four, 4);
  return _mm256_set1_epi32(word);
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

/// dots[t] = codes of the group's tiles times the values of token t.
/// @tparam Stored  bits that a code takes where the tiles lie: Bits, or 8 for tiles that are unpacked
template <int Bits, int Stored, int T>
inline void dot_tiles(const uint8_t* codes, int64_t n_tiles, const int8_t* x, Tile* dots) {
  constexpr int kUnroll = 4;
  for (int t = 0; t < T; ++t) dots[t].half[0] = dots[t].half[1] = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + kUnroll <= n_tiles; i += kUnroll) {
    for (int ahead = 0; ahead < kUnroll * 8 * Stored; ahead += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead + ahead, _MM_HINT_T0);
    }
    Tile tiles[kUnroll];
#pragma GCC unroll 4
    for (int j = 0; j < kUnroll; ++j) tiles[j] = tile_codes<Stored>(codes + j * 8 * Stored);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) add_products<Bits, kUnroll>(tiles, x + 4 * t, 4 * T, dots[t].half);
    codes += kUnroll * 8 * Stored;
    x += kUnroll * 4 * T;
  }
  for (; i < n_tiles; ++i) {
    const Tile tile = tile_codes<Stored>(codes);
    for (int t = 0; t < T; ++t) add_products<Bits, 1>(&tile, x + 4 * t, 4 * T, dots[t].half);
    codes += 8 * Stored;
    x += 4 * T;
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
    for_each_group<Bits>(s, cols, n_strips, [&](const GroupStrip& group) {
      for (int p = 0; p < n_parts<Bits>; ++p) {
        Tile dots[T];
        dot_tiles<Bits, Bits, T>(group.codes, group.n_tiles, x.parts[p].values + group.col * T, dots);
        add_group<T>(dots, group, x.parts[p], group.col / cols.group_size * T, y, y_stride);
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
  void add_set(int64_t set, const GroupStrip& group, int64_t index, int parts) {
    for (int p = 0; p < parts; ++p) {
      Tile dots[T];
      dot_tiles<Bits, 8, T>(tiles, group.n_tiles, x[set].parts[p].values + group.col * T, dots);
      add_group<T>(dots, group, x[set].parts[p], index * T, y + set * kMaxGemvTokens * y_stride, y_stride);
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
      const int64_t index = group.col / cols.group_size;
      for (int64_t set = 0; set < n_sets; ++set) {
        switch (x[set].n_tokens) {
          case 1:
            add_set<kAs, 1>(set, group, index, n_parts<Bits>);
            break;
          case 2:
            add_set<kAs, 2>(set, group, index, n_parts<Bits>);
            break;
          case 3:
            add_set<kAs, 3>(set, group, index, n_parts<Bits>);
            break;
          case 4:
            add_set<kAs, 4>(set, group, index, n_parts<Bits>);
            break;
          case 5:
            add_set<kAs, 5>(set, group, index, n_parts<Bits>);
            break;
          case 6:
            add_set<kAs, 6>(set, group, index, n_parts<Bits>);
            break;
          case 7:
            add_set<kAs, 7>(set, group, index, n_parts<Bits>);
            break;
          default:
            add_set<kAs, 8>(set, group, index, n_parts<Bits>);
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
