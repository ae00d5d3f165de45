// SPDX-License-Identifier: Apache-2.0
// What every kernel means, written to be read beside docs/format.md.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "scalebits/base/half.h"
#include "scalebits/format/codes.h"
#include "scalebits/format/grid.h"
#include "scalebits/format/scale.h"
#include "scalebits/kernels/kernels.h"

namespace scalebits::reference {
namespace {

constexpr int kTileCodes = kTileRows * kTileCols;

/// One group of columns in 16 rows.
struct GroupStrip {
  int64_t row;               ///< of the panel, first of 16
  int64_t first_col, n_col;  ///< of the matrix; without padding
  int bits;
  const uint8_t* codes;  ///< tiles of 8 * bits bytes
  std::array<float, kTileRows> scale, zero;

  /// Codes of the tile at column first_col + 4 * index.
  [[nodiscard]] std::array<uint8_t, kTileCodes> tile(int64_t index) const {
    const auto bytes = static_cast<size_t>(kTileCodes / 8 * bits);
    std::array<uint8_t, kTileCodes> out;
    unpack_fields({codes + static_cast<size_t>(index) * bytes, bytes}, bits, out);
    return out;
  }
};

/// Calls visit(GroupStrip) in the order of the streams: strips from top to bottom inside a block, blocks from left to
/// right. The groups of any one row come from left to right.
template <class Visit>
void for_each_group(const PackedPanels& w, int64_t panel, const Visit& visit) {
  const uint8_t* codes = w.codes + w.code_offset[panel];
  const uint8_t* scales = w.scales + w.scale_offset[panel];
  const uint8_t* zeros = w.zeros + w.zero_offset[panel];
  const int64_t rows = std::min<int64_t>(w.block_rows, w.out_features - panel * w.block_rows);
  const int64_t col_blocks = (w.in_features + w.block_cols - 1) / w.block_cols;
  for (int64_t block = 0; block < col_blocks; ++block) {
    const int bits = w.bits[panel * col_blocks + block];
    const int64_t end_col = std::min<int64_t>((block + 1) * w.block_cols, w.in_features);
    const auto zero_bytes = static_cast<size_t>(kTileRows / 8 * zero_bits(bits));
    for (int64_t row = 0; row < rows; row += kTileRows) {
      for (int64_t col = block * w.block_cols; col < end_col; col += w.group_size) {
        GroupStrip group{row, col, std::min<int64_t>(w.group_size, end_col - col), bits, codes, {}, {}};
        std::array<uint8_t, kTileRows> fields;
        unpack_fields({zeros, zero_bytes}, zero_bits(bits), fields);
        for (size_t r = 0; r < kTileRows; ++r) {
          group.scale[r] = scale_value(scales[r]);
          group.zero[r] = static_cast<float>(fields[r]) * zero_unit(bits);
        }
        visit(group);
        scales += kTileRows;
        zeros += zero_bytes;
        codes += (group.n_col + kTileCols - 1) / kTileCols * (kTileCodes / 8) * bits;
      }
    }
  }
}

int64_t padded_rows(const PackedPanels& w, int64_t panel) {
  const int64_t rows = std::min<int64_t>(w.block_rows, w.out_features - panel * w.block_rows);
  return (rows + kTileRows - 1) / kTileRows * kTileRows;
}

/// Calls visit(row of the strip, column of the group, code) for the codes of a group that exist.
template <class Visit>
void for_each_code(const GroupStrip& group, const Visit& visit) {
  for (int64_t c = 0; c < group.n_col; c += kTileCols) {
    const auto tile = group.tile(c / kTileCols);
    for (size_t r = 0; r < kTileRows; ++r) {
      for (int64_t j = 0; j < std::min<int64_t>(kTileCols, group.n_col - c); ++j) {
        visit(r, c + j, tile[r * kTileCols + static_cast<size_t>(j)]);
      }
    }
  }
}

void gemv(const PackedPanels& w, int64_t panel, const FloatTokens& x, float* y, int64_t y_stride) noexcept {
  for (int32_t t = 0; t < x.n_tokens; ++t) std::fill_n(y + t * y_stride, padded_rows(w, panel), 0.0F);
  for_each_group(w, panel, [&](const GroupStrip& group) {
    for_each_code(group, [&](size_t r, int64_t c, uint8_t code) {
      const float weight = group.scale[r] * (static_cast<float>(code) - group.zero[r]);
      for (int32_t t = 0; t < x.n_tokens; ++t) {
        y[t * y_stride + group.row + static_cast<int64_t>(r)] +=
            weight * x.values[(group.first_col + c) * x.n_tokens + t];
      }
    });
  });
}

void gemv_int8(const PackedPanels& w, int64_t panel, const Int8Tokens& x, float* y, int64_t y_stride) noexcept {
  const int64_t n = x.n_tokens;
  for (int64_t t = 0; t < n; ++t) std::fill_n(y + t * y_stride, padded_rows(w, panel), 0.0F);
  for_each_group(w, panel, [&](const GroupStrip& group) {
    const int64_t g = group.first_col / w.group_size;
    for (int p = 0; p < (group.bits < kTwoPartBits ? 1 : 2); ++p) {
      const Int8Tokens::Part& part = x.parts[p];
      std::array<std::array<int32_t, kTileRows>, kMaxGemvTokens> dots{};
      for_each_code(group, [&](size_t r, int64_t c, uint8_t code) {
        const int64_t col = group.first_col + c;
        for (int64_t t = 0; t < n; ++t) {
          dots[static_cast<size_t>(t)][r] +=
              code * part.values[(col / kTileCols * n + t) * kTileCols + col % kTileCols];
        }
      });
      for (int64_t t = 0; t < n; ++t) {
        for (size_t r = 0; r < kTileRows; ++r) {
          const auto dot = static_cast<float>(dots[static_cast<size_t>(t)][r]);
          float& sum = y[t * y_stride + group.row + static_cast<int64_t>(r)];
          sum = std::fma(std::fma(-group.zero[r], part.sums[g * n + t], dot), group.scale[r] * part.scales[g * n + t],
                         sum);
        }
      }
    }
  });
}

void gemm_int8(const PackedPanels& w, int64_t panel, const Int8Tokens* x, int64_t n_sets, float* y,
               int64_t y_stride) noexcept {
  for (int64_t i = 0; i < n_sets; ++i) gemv_int8(w, panel, x[i], y + i * kMaxGemvTokens * y_stride, y_stride);
}

void decode_panel(const PackedPanels& w, int64_t panel, float* out, int64_t stride) noexcept {
  const int64_t rows = std::min<int64_t>(w.block_rows, w.out_features - panel * w.block_rows);
  for_each_group(w, panel, [&](const GroupStrip& group) {
    for_each_code(group, [&](size_t r, int64_t c, uint8_t code) {
      const int64_t row = group.row + static_cast<int64_t>(r);
      if (row < rows)
        out[row * stride + group.first_col + c] = group.scale[r] * (static_cast<float>(code) - group.zero[r]);
    });
  });
}

void gemv_bf16(const uint16_t* w, int64_t n_rows, int64_t n_cols, const float* x, int32_t n_tokens, float* y,
               int64_t y_stride) noexcept {
  for (int64_t t = 0; t < n_tokens; ++t) {
    for (int64_t r = 0; r < n_rows; ++r) {
      float sum = 0;
      for (int64_t c = 0; c < n_cols; ++c) sum += bf16_to_float(w[r * n_cols + c]) * x[t * n_cols + c];
      y[t * y_stride + r] = sum;
    }
  }
}

void attend(const AttentionRows& rows, float* out) noexcept {
  const int64_t d = rows.head_dim;
  for (int32_t i = 0; i < rows.n_rows; ++i) {
    float* sum = out + i * d;
    std::fill_n(sum, d, 0.0F);
    float top = -std::numeric_limits<float>::infinity(), total = 0;
    for (int64_t key = rows.first_key[i]; key < rows.n_keys[i]; ++key) {
      const uint16_t* k = rows.k + key / kKeyTile * kKeyTile * d + key % kKeyTile;
      float score = 0;
      for (int64_t c = 0; c < d; ++c) score += rows.q[i * d + c] * f16_to_float(k[c * kKeyTile]);
      if (rows.cap > 0) score = rows.cap * std::tanh(score / rows.cap);
      if (score > top) {
        const float fade = std::exp(top - score);
        for (int64_t c = 0; c < d; ++c) sum[c] *= fade;
        total *= fade;
        top = score;
      }
      const float p = std::exp(score - top);
      total += p;
      for (int64_t c = 0; c < d; ++c) sum[c] += p * f16_to_float(rows.v[key * d + c]);
    }
    for (int64_t c = 0; c < d; ++c) sum[c] /= total;
  }
}

float quantize_group(const float* x, int64_t n, int8_t* values, int8_t* rest, float* sums) noexcept {
  float most = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    finite = finite && std::isfinite(x[i]);
    most = std::max(most, std::abs(x[i]));
  }
  const float inverse = finite && most > 0x1p-100F ? 127.0F / most : 0.0F;
  int32_t total = 0, rest_total = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float scaled = finite ? x[i] * inverse : 0.0F, nearest = std::nearbyint(scaled);
    values[i] = static_cast<int8_t>(nearest);
    rest[i] = static_cast<int8_t>(std::nearbyint((scaled - nearest) * 254.0F));
    total += values[i];
    rest_total += rest[i];
  }
  sums[0] = static_cast<float>(total);
  sums[1] = static_cast<float>(rest_total);
  return finite ? most / 127.0F : std::numeric_limits<float>::quiet_NaN();
}

void swiglu(float* gate, const float* up, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) gate[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
}

void geglu(float* gate, const float* up, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) {
    const float g = gate[i], z = 0.797884561F * (g + 0.044715F * g * g * g);
    gate[i] = g / (1.0F + std::exp(-2.0F * z)) * up[i];
  }
}

uint64_t read(const uint8_t* from, int64_t n_bytes) noexcept {
  std::array<uint64_t, 8> sums{};
  for (int64_t i = 0; i < n_bytes; i += 64) {
    std::array<uint64_t, 8> words;
    std::memcpy(words.data(), from + i, 64);
    for (size_t j = 0; j < 8; ++j) sums[j] += words[j];
  }
  uint64_t sum = 0;
  for (const uint64_t s : sums) sum += s;
  return sum;
}

}  // namespace

const KernelTable kTable = {.name = "reference",
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

}  // namespace scalebits::reference
