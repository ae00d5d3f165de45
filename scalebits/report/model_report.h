// SPDX-License-Identifier: Apache-2.0
/// What is in a model directory: shapes, bytes, and the widths of every packed matrix.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "scalebits/io/json.h"
#include "scalebits/model/weights.h"

namespace scalebits {

/// Weights by width: [b] for 1..8 bits, [0] those stored dense.
using BitsHistogram = std::array<int64_t, 9>;

struct MatrixReport {
  std::string name;  ///< Hugging Face name without `.weight`
  int64_t layer = 0;
  Slot slot = Proj::kQ;
  bool of_expert = false;
  int64_t out_features = 0, in_features = 0;
  BitsHistogram weights{};
  int64_t code_bytes = 0, scale_bytes = 0, zero_bytes = 0, map_bytes = 0, dense_bytes = 0;
  int64_t perm_bytes = 0;  ///< of the permutations stored with it; a shared one is with the first that uses it

  [[nodiscard]] int64_t n_weights() const { return out_features * in_features; }
  [[nodiscard]] int64_t bytes() const {
    return code_bytes + scale_bytes + zero_bytes + map_bytes + perm_bytes + dense_bytes;
  }
};

/// Sums over matrices.
struct MatrixTotal {
  BitsHistogram weights{};
  int64_t n_weights = 0, bytes = 0;
  void add(const MatrixReport& matrix);
  [[nodiscard]] double bpw() const;        ///< 8 * bytes / n_weights
  [[nodiscard]] double code_bits() const;  ///< mean width of the packed weights; 0 without any
};

struct ModelReport {
  bool packed = false;
  std::vector<MatrixReport> matrices;          ///< of the linear layers, layer by layer
  std::vector<MatrixReport> vocab;             ///< the embedding, and the head unless it is tied; in none of the totals
  std::map<std::string, int64_t> dtype_bytes;  ///< of all tensors, by dtype as in the file
  int64_t parameters = 0;                      ///< weights of the linear layers and elements of all other tensors
  int64_t tensor_bytes = 0, file_bytes = 0;

  [[nodiscard]] MatrixTotal total() const;
  [[nodiscard]] MatrixTotal total(int64_t layer) const;
  [[nodiscard]] MatrixTotal total(Proj p) const;
  [[nodiscard]] std::map<int64_t, MatrixTotal> experts(int64_t layer) const;  ///< none where the MLP is dense
};

/// @throws FormatError where a matrix does not fit the config
ModelReport report_model(const ModelWeights& weights);

/// Keys bits_histogram, matrix_kinds, layers (each with its matrices), bpw, code_bits, bytes (all of the linear layers
/// only), vocab (by name) and the config's sizes.
Json to_json(const ModelReport& report, const ModelConfig& config);

/// One digit per block, top to bottom and left to right. A larger grid is shrunk: a digit is then the rounded mean of a
/// rectangle of blocks. @param max_rows, max_cols at least 1
std::vector<std::string> block_map(const BlockGrid& grid, std::span<const uint8_t> bits, int64_t max_rows,
                                   int64_t max_cols);

}  // namespace scalebits
