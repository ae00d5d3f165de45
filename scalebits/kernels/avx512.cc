// SPDX-License-Identifier: Apache-2.0
// Products with packed weights. A tile is unpacked by one permutation, one multishift and one and, at every width, and
// is then the operand of one 4-way dot product for each token.
#include "scalebits/kernels/avx512_kernels.h"
#include "scalebits/kernels/avx512_tiles.h"

namespace scalebits::avx512 {
namespace {

/// How far ahead of what is in use memory is asked for, in bytes: of the codes, and of scales and zero points, whose
/// streams are so thin that the processor does not foresee them.
constexpr int kAhead = 8192;
constexpr int kParamsAhead = 512;

inline int load_int(const int8_t* p) {
  int word;
  __builtin_memcpy(&word, p, 4);
  return word;
}

/// sum += the 4-way dot product of codes and values. As an instruction, because g++ 12 copies every sum of a loop to
/// another register and back around the intrinsic (_mm512_dpbusd_epi32), which costs half the speed of many tokens.
inline void add_dot(__m512i& sum, __m512i codes, __m512i values) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(values));
}

/// How many parts of an activation weights of a width take.
template <int Bits>
constexpr int n_parts = Bits < kTwoPartBits ? 1 : 2;

/// y[t] = fma(fma(-zero, sum[t], dots[p][t]), scale * x_scale[t], y[t]) for each of P parts, 16 rows. What is stored
/// once need not be waited for between the parts.
template <int P, int T>
[[gnu::always_inline]] inline void add_group(const __m512i (&dots)[P][T], __m512 scale, __m512 zero,
                                             const Int8Tokens::Part* parts, int64_t group, float* y, int64_t y_stride) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    __m512 sum = _mm512_loadu_ps(y + t * y_stride);
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      const int64_t i = group * T + t;
      const __m512 dot = _mm512_fnmadd_ps(zero, _mm512_set1_ps(parts[p].sums[i]), _mm512_cvtepi32_ps(dots[p][t]));
      sum = _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, _mm512_set1_ps(parts[p].scales[i])), sum);
    }
    _mm512_storeu_ps(y + t * y_stride, sum);
  }
}

/// dots[p][t] = codes of the group's tiles times the values of token t, each tile unpacked once for both parts. Few
/// tokens get several sums each, so that a sum need not wait for the one before.
template <int Bits, int P, int T>
[[gnu::always_inline]] inline void dot_tiles(const uint8_t* codes, int64_t n_tiles, const int8_t* const (&x)[P],
                                             __m512i (&dots)[P][T]) {
  constexpr int kSums = P * T;
  constexpr int kChains = kSums <= 2 ? 4 : kSums <= 4 ? 2 : 1;  // a product takes up to 6 cycles, two begin in each
  constexpr int kUnroll = T == 1 ? 8 : 4;                       // 8 tiles are a group of 32
  __m512i sums[kChains][kSums];
#pragma GCC unroll 4
  for (int k = 0; k < kChains; ++k) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sums[k][i] = _mm512_setzero_si512();
  }
  int64_t i = 0;
  for (; i + kUnroll <= n_tiles; i += kUnroll) {
    for (int ahead = 0; ahead < kUnroll * 8 * Bits; ahead += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead + ahead, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int j = 0; j < kUnroll; ++j) {
      const __m512i tile = neighbour_codes<Bits, kUnroll>(codes, j);
#pragma GCC unroll 16
      for (int s = 0; s < kSums; ++s) {
        const int8_t* value = x[s / T] + ((i + j) * T + s % T) * 4;
        add_dot(sums[j % kChains][s], tile, _mm512_set1_epi32(load_int(value)));
      }
    }
    codes += kUnroll * 8 * Bits;
  }
#pragma GCC unroll 16
  for (int s = 0; s < kSums; ++s) {
    __m512i sum = sums[0][s];
#pragma GCC unroll 4
    for (int k = 1; k < kChains; ++k) sum = _mm512_add_epi32(sum, sums[k][s]);
    dots[s / T][s % T] = rows_in_order<Bits>(sum);
  }
  for (; i < n_tiles; ++i) {
    const __m512i tile = tile_codes<Bits>(codes);
    codes += 8 * Bits;
#pragma GCC unroll 16
    for (int s = 0; s < kSums; ++s) {
      add_dot(dots[s / T][s % T], tile, _mm512_set1_epi32(load_int(x[s / T] + (i * T + s % T) * 4)));
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
    constexpr int kParts = n_parts<Bits>;
    prefetch_params(s, cols, n_strips, kParamsAhead);
    for_each_group<Bits>(s, cols, n_strips,
                         [&](const uint8_t* codes, int64_t n_tiles, int64_t col, int64_t group, __m512 scale,
                             __m512 zero, int64_t strip) {
                           const int8_t* values[kParts];
                           for (int p = 0; p < kParts; ++p) values[p] = x.parts[p].values + col * T;
                           __m512i dots[kParts][T];
                           dot_tiles<Bits, kParts, T>(codes, n_tiles, values, dots);
                           add_group<kParts, T>(dots, scale, zero, x.parts, group, y + strip * 16, y_stride);
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

/// Tiles of a group that are unpacked once for all sets of tokens: 16 KB for each of two strips.
constexpr int64_t kMostTiles = 256;
constexpr int kStrips = 2;

struct Int8Products {
  const Int8Tokens* x;
  int64_t n_sets, n_strips;
  float* y;
  int64_t y_stride;
  alignas(64) uint8_t tiles[kStrips][kMostTiles * 64];
  __m512 scale[kStrips], zero[kStrips];

  /// The first S strips of `tiles` times T tokens. An activation is loaded once for all strips: with one strip the
  /// loads would take longer than the products.
  template <int S, int T>
  void add_set(const Int8Tokens::Part& tokens, int64_t n_tiles, int64_t col, int64_t group, float* to) {
    const int8_t* values = tokens.values + col * T;
    __m512i dots[S][1][T];
#pragma GCC unroll 2
    for (int s = 0; s < S; ++s) {
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) dots[s][0][t] = _mm512_setzero_si512();
    }
    for (int64_t i = 0; i < n_tiles; ++i) {
      __m512i tile[S];
#pragma GCC unroll 2
      for (int s = 0; s < S; ++s) tile[s] = _mm512_load_si512(tiles[s] + i * 64);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const __m512i value = _mm512_set1_epi32(load_int(values + (i * T + t) * 4));
#pragma GCC unroll 2
        for (int s = 0; s < S; ++s) add_dot(dots[s][0][t], tile[s], value);
      }
    }
#pragma GCC unroll 2
    for (int s = 0; s < S; ++s) add_group<1, T>(dots[s], scale[s], zero[s], &tokens, group, to + s * 16, y_stride);
  }

  template <int S>
  void add_sets(int parts, int64_t n_tiles, int64_t col, int64_t group, int64_t strip) {
    using Function = void (Int8Products::*)(const Int8Tokens::Part&, int64_t, int64_t, int64_t, float*);
    static constexpr Function kOf[] = {&Int8Products::add_set<S, 1>, &Int8Products::add_set<S, 2>,
                                       &Int8Products::add_set<S, 3>, &Int8Products::add_set<S, 4>,
                                       &Int8Products::add_set<S, 5>, &Int8Products::add_set<S, 6>,
                                       &Int8Products::add_set<S, 7>, &Int8Products::add_set<S, 8>};
    for (int64_t set = 0; set < n_sets; ++set) {
      float* to = y + set * kMaxGemvTokens * y_stride + strip * 16;
      const Function add = kOf[x[set].n_tokens - 1];
      for (int p = 0; p < parts; ++p) (this->*add)(x[set].parts[p], n_tiles, col, group, to);
    }
  }

  /// Group by group, so that two strips, which lie one after the other in the streams, can be taken together.
  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    const int64_t groups = (cols.end - cols.first + cols.group_size - 1) / cols.group_size;
    const int64_t strip_tiles = (cols.end - cols.first + 3) / 4;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t col = cols.first + g * cols.group_size;
      const int64_t n_tiles = (at_most(cols.group_size, cols.end - col) + 3) / 4;
      for (int64_t strip = 0; strip < n_strips; strip += kStrips) {
        const int64_t now = at_most(kStrips, n_strips - strip);
        for (int64_t i = 0; i < now; ++i) {
          const int64_t index = (strip + i) * groups + g;
          const uint8_t* codes = s.codes + ((strip + i) * strip_tiles + g * cols.group_size / 4) * 8 * Bits;
          for (int64_t j = 0; j < n_tiles; ++j) {
            _mm512_store_si512(tiles[i] + j * 64, tile_codes<Bits>(codes + j * 8 * Bits));
          }
          scale[i] = scale_values(s.scales + index * 16);
          zero[i] = zero_values<Bits>(s.zeros + index * kZeroBytes<Bits>);
        }
        if (now == kStrips) {
          add_sets<kStrips>(n_parts<Bits>, n_tiles, col, cols.first_group + g, strip);
        } else {
          add_sets<1>(n_parts<Bits>, n_tiles, col, cols.first_group + g, strip);
        }
      }
    }
    s.codes += n_strips * strip_tiles * 8 * Bits;
    s.scales += n_strips * groups * 16;
    s.zeros += n_strips * groups * kZeroBytes<Bits>;
  }
};

void gemm_int8(const PackedPanels& w, int64_t panel, const Int8Tokens* x, int64_t n_sets, float* y,
               int64_t y_stride) noexcept {
  if (n_sets == 1 || w.group_size > 4 * kMostTiles) {
    for (int64_t i = 0; i < n_sets; ++i) gemv_int8(w, panel, x[i], y + i * kMaxGemvTokens * y_stride, y_stride);
    return;
  }
  Int8Products products{x, n_sets, strips_of(w, panel), y, y_stride, {}, {}, {}};
  for (int64_t i = 0; i < n_sets; ++i) {
    clear(x[i].n_tokens, products.n_strips, y + i * kMaxGemvTokens * y_stride, y_stride);
  }
  for_each_block(w, panel, products);
}

}  // namespace

const KernelTable kTable = {.name = "avx512",
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

}  // namespace scalebits::avx512
