// SPDX-License-Identifier: Apache-2.0
// Products with packed weights. A tile is unpacked by one permutation, one multishift and one and, at every width, and
// is then the operand of one 4-way dot product for each token.
#include "scalebits/kernels/avx512_dense.h"
#include "scalebits/kernels/avx512_tiles.h"

namespace scalebits::avx512 {
namespace {

/// How far ahead of the codes in use memory is asked for, in bytes.
constexpr int kAhead = 8192;

inline int load_int(const int8_t* p) {
  int word;
  __builtin_memcpy(&word, p, 4);
  return word;
}

inline void clear(int64_t n_tokens, int64_t n_strips, float* y, int64_t y_stride) {
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t s = 0; s < n_strips; ++s) _mm512_storeu_ps(y + t * y_stride + s * 16, _mm512_setzero_ps());
  }
}

/// y[t] = fma(fma(-zero, sum[t], dot[t]), scale * x_scale[t], y[t]) for 16 rows.
template <int T>
inline void add_group(const __m512i* dots, __m512 scale, __m512 zero, const float* x_scales, const float* x_sums,
                      float* y, int64_t y_stride) {
  for (int t = 0; t < T; ++t) {
    const __m512 dot = _mm512_fnmadd_ps(zero, _mm512_set1_ps(x_sums[t]), _mm512_cvtepi32_ps(dots[t]));
    const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(x_scales[t]));
    _mm512_storeu_ps(y + t * y_stride, _mm512_fmadd_ps(dot, factor, _mm512_loadu_ps(y + t * y_stride)));
  }
}

/// dots[t] = codes of the group's tiles times the values of token t. Few tokens get several sums each, so that a sum
/// need not wait for the one before.
template <int Bits, int T>
inline void dot_tiles(const uint8_t* codes, int64_t n_tiles, const int8_t* x, __m512i* dots) {
  constexpr int kChains = T == 1 ? 4 : T <= 3 ? 2 : 1;
  constexpr int kUnroll = T == 1 ? 8 : 4;  // 8 tiles are a group of 32
  __m512i sums[kChains][T];
  for (auto& chain : sums) {
    for (auto& sum : chain) sum = _mm512_setzero_si512();
  }
  int64_t i = 0;
  for (; i + kUnroll <= n_tiles; i += kUnroll) {
    for (int ahead = 0; ahead < kUnroll * 8 * Bits; ahead += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kAhead + ahead, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int j = 0; j < kUnroll; ++j) {
      const __m512i tile = tile_codes<Bits>(codes);
      codes += 8 * Bits;
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        sums[j % kChains][t] = _mm512_dpbusd_epi32(sums[j % kChains][t], tile, _mm512_set1_epi32(load_int(x)));
        x += 4;
      }
    }
  }
  for (; i < n_tiles; ++i) {
    const __m512i tile = tile_codes<Bits>(codes);
    codes += 8 * Bits;
    for (int t = 0; t < T; ++t) {
      sums[0][t] = _mm512_dpbusd_epi32(sums[0][t], tile, _mm512_set1_epi32(load_int(x)));
      x += 4;
    }
  }
  for (int t = 0; t < T; ++t) {
    dots[t] = sums[0][t];
    for (int k = 1; k < kChains; ++k) dots[t] = _mm512_add_epi32(dots[t], sums[k][t]);
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
    for_each_group<Bits>(
        s, cols, n_strips,
        [&](const uint8_t* codes, int64_t n_tiles, int64_t col, __m512 scale, __m512 zero, int64_t strip) {
          __m512i dots[T];
          dot_tiles<Bits, T>(codes, n_tiles, x.values + col * T, dots);
          const int64_t g = col / cols.group_size * T;
          add_group<T>(dots, scale, zero, x.scales + g, x.sums + g, y + strip * 16, y_stride);
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
  alignas(64) uint8_t tiles[kMostTiles * 64];

  template <int T>
  void add_set(int64_t set, int64_t n_tiles, int64_t col, int64_t group, __m512 scale, __m512 zero, int64_t strip) {
    const Int8Tokens& tokens = x[set];
    __m512i dots[T];
    dot_tiles<8, T>(tiles, n_tiles, tokens.values + col * T, dots);
    add_group<T>(dots, scale, zero, tokens.scales + group * T, tokens.sums + group * T,
                 y + set * kMaxGemvTokens * y_stride + strip * 16, y_stride);
  }

  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    for_each_group<Bits>(
        s, cols, n_strips,
        [&](const uint8_t* codes, int64_t n_tiles, int64_t col, __m512 scale, __m512 zero, int64_t strip) {
          for (int64_t i = 0; i < n_tiles; ++i)
            _mm512_store_si512(tiles + i * 64, tile_codes<Bits>(codes + i * 8 * Bits));
          const int64_t group = col / cols.group_size;
          for (int64_t set = 0; set < n_sets; ++set) {
            switch (x[set].n_tokens) {
              case 1:
                add_set<1>(set, n_tiles, col, group, scale, zero, strip);
                break;
              case 2:
                add_set<2>(set, n_tiles, col, group, scale, zero, strip);
                break;
              case 3:
                add_set<3>(set, n_tiles, col, group, scale, zero, strip);
                break;
              case 4:
                add_set<4>(set, n_tiles, col, group, scale, zero, strip);
                break;
              case 5:
                add_set<5>(set, n_tiles, col, group, scale, zero, strip);
                break;
              case 6:
                add_set<6>(set, n_tiles, col, group, scale, zero, strip);
                break;
              case 7:
                add_set<7>(set, n_tiles, col, group, scale, zero, strip);
                break;
              default:
                add_set<8>(set, n_tiles, col, group, scale, zero, strip);
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

/// code - zero of the four columns of a tile, 16 rows each. Exact.
struct Steps {
  __m512 column[4];
};
inline Steps steps(__m512i tile, __m512 zero) {
  const __m512i low = _mm512_set1_epi32(255);
  const auto from_codes = [&](__m512i codes) { return _mm512_sub_ps(_mm512_cvtepi32_ps(codes), zero); };
  return {{from_codes(_mm512_and_si512(tile, low)), from_codes(_mm512_and_si512(_mm512_srli_epi32(tile, 8), low)),
           from_codes(_mm512_and_si512(_mm512_srli_epi32(tile, 16), low)), from_codes(_mm512_srli_epi32(tile, 24))}};
}

template <int T>
struct FloatProduct {
  const FloatTokens& x;
  int64_t n_strips;
  float* y;
  int64_t y_stride;

  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    for_each_group<Bits>(
        s, cols, n_strips,
        [&](const uint8_t* codes, int64_t n_tiles, int64_t col, __m512 scale, __m512 zero, int64_t strip) {
          __m512 sums[4][T];  // of each column of a tile
          for (auto& column : sums) {
            for (auto& sum : column) sum = _mm512_setzero_ps();
          }
          const float* values = x.values + col * T;
          for (int64_t i = 0; i < n_tiles; ++i) {
            const Steps step = steps(tile_codes<Bits>(codes + i * 8 * Bits), zero);
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) {
              for (int t = 0; t < T; ++t)
                sums[j][t] = _mm512_fmadd_ps(step.column[j], _mm512_set1_ps(*values++), sums[j][t]);
            }
          }
          for (int t = 0; t < T; ++t) {
            float* to = y + t * y_stride + strip * 16;
            const __m512 sum =
                _mm512_add_ps(_mm512_add_ps(sums[0][t], sums[1][t]), _mm512_add_ps(sums[2][t], sums[3][t]));
            _mm512_storeu_ps(to, _mm512_fmadd_ps(scale, sum, _mm512_loadu_ps(to)));
          }
        });
  }
};

template <int T>
void gemv_of(const PackedPanels& w, int64_t panel, const FloatTokens& x, float* y, int64_t y_stride) {
  FloatProduct<T> product{x, strips_of(w, panel), y, y_stride};
  clear(T, product.n_strips, y, y_stride);
  for_each_block(w, panel, product);
}

void gemv(const PackedPanels& w, int64_t panel, const FloatTokens& x, float* y, int64_t y_stride) noexcept {
  using Function = void (*)(const PackedPanels&, int64_t, const FloatTokens&, float*, int64_t);
  static constexpr Function kOf[] = {gemv_of<1>, gemv_of<2>, gemv_of<3>, gemv_of<4>,
                                     gemv_of<5>, gemv_of<6>, gemv_of<7>, gemv_of<8>};
  kOf[x.n_tokens - 1](w, panel, x, y, y_stride);
}

struct Decoding {
  int64_t n_rows, n_cols;
  float* out;
  int64_t stride;

  template <int Bits>
  void block(Streams& s, const BlockColumns& cols) {
    for_each_group<Bits>(
        s, cols, (n_rows + 15) / 16,
        [&](const uint8_t* codes, int64_t n_tiles, int64_t col, __m512 scale, __m512 zero, int64_t strip) {
          const int64_t rows = at_most(16, n_rows - strip * 16);
          for (int64_t i = 0; i < n_tiles; ++i) {
            const Steps step = steps(tile_codes<Bits>(codes + i * 8 * Bits), zero);
            alignas(64) float columns[4][16];
            for (int j = 0; j < 4; ++j) _mm512_store_ps(columns[j], _mm512_mul_ps(scale, step.column[j]));
            const int64_t n = at_most(4, n_cols - col - 4 * i);
            float* to = out + strip * 16 * stride + col + 4 * i;
            for (int64_t r = 0; r < rows; ++r, to += stride) {
              for (int64_t j = 0; j < n; ++j) to[j] = columns[j][r];
            }
          }
        });
  }
};

void decode_panel(const PackedPanels& w, int64_t panel, float* out, int64_t stride) noexcept {
  Decoding decoding{at_most(w.block_rows, w.out_features - panel * w.block_rows), w.in_features, out, stride};
  for_each_block(w, panel, decoding);
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
                            .read = read};

}  // namespace scalebits::avx512
