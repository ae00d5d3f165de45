// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/model_report.h"

#include <algorithm>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

/// Fills in the widths and bytes of a matrix whose name and shape are there. @param view of its packed form
template <class View>
MatrixReport report_matrix(const ModelWeights& weights, const PackedWeights* packed, MatrixReport r, View packed_view) {
  if (packed == nullptr || !packed->is_packed(r.name)) {
    const std::array<int64_t, 2> sides = {r.out_features, r.in_features};
    r.dense_bytes = static_cast<int64_t>(weights.checkpoint().get(r.name + ".weight", sides).bytes.size());
    r.weights[0] = r.n_weights();
    return r;
  }
  const PackedView view = packed_view();
  (void)check_packed(view, r.name.c_str());
  const BlockGrid& grid = view.grid;
  for (int64_t block = 0; block < grid.n_blocks(); ++block) {
    const int64_t count = grid.rows(block / grid.col_blocks()).count * grid.cols(block % grid.col_blocks()).count;
    r.weights[view.bits[static_cast<size_t>(block)]] += count;
  }
  r.code_bytes = static_cast<int64_t>(view.codes.size());
  r.scale_bytes = static_cast<int64_t>(view.scales.size());
  r.zero_bytes = static_cast<int64_t>(view.zeros.size());
  r.map_bytes = static_cast<int64_t>(view.bits.size());
  return r;
}

MatrixReport report_linear(const ModelWeights& weights, const PackedWeights* packed, int64_t layer, Slot slot) {
  const LinearShape shape = linear_shape(weights.config(), layer, slot);
  MatrixReport r = report_matrix(weights, packed,
                                 {.name = linear_name(weights.config(), layer, slot),
                                  .layer = layer,
                                  .slot = slot,
                                  .of_expert = is_experts(weights.config(), layer, slot),
                                  .out_features = shape.out_features,
                                  .in_features = shape.in_features},
                                 [&] { return packed->view(layer, slot); });
  if (packed == nullptr || !packed->is_packed(layer, slot)) return r;
  const RowColOrder order = packed->order(layer, slot);
  r.perm_bytes =
      permutation_bytes(order.rows) + (packed->col_owner(layer, slot) == slot ? permutation_bytes(order.cols) : 0);
  return r;
}

MatrixReport report_vocab(const ModelWeights& weights, const PackedWeights* packed, const char* name) {
  const ModelConfig& c = weights.config();
  return report_matrix(weights, packed, {.name = name, .out_features = c.vocab_size, .in_features = c.d_model},
                       [&] { return packed->vocab_view(name); });
}

/// Whether the tensor is one of a matrix's parts (then its elements are not parameters of their own).
bool is_part_of_packed(const Checkpoint& checkpoint, const std::string& name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return false;
  const std::string_view part = std::string_view(name).substr(dot);
  return (part == ".codes" || part == ".bits" || part == ".scales" || part == ".zeros" || part == ".row_perm" ||
          part == ".col_perm") &&
         checkpoint.contains(name.substr(0, dot) + ".codes");
}

Json histogram_json(const BitsHistogram& weights) {
  Json json = Json::object();
  if (weights[0] > 0) json["dense"] = weights[0];
  for (size_t b = 1; b < weights.size(); ++b) {
    if (weights[b] > 0) json[std::to_string(b)] = weights[b];
  }
  return json;
}

Json total_json(const MatrixTotal& total) {
  return {{"weights", total.n_weights},
          {"bytes", total.bytes},
          {"bpw", total.bpw()},
          {"code_bits", total.code_bits()},
          {"bits_histogram", histogram_json(total.weights)}};
}

Json matrix_json(const MatrixReport& matrix) {
  MatrixTotal total;
  total.add(matrix);
  Json json = total_json(total);
  json["shape"] = {matrix.out_features, matrix.in_features};
  if (matrix.dense_bytes == 0) {
    json["parts"] = {{"codes", matrix.code_bytes},
                     {"scales", matrix.scale_bytes},
                     {"zeros", matrix.zero_bytes},
                     {"bits", matrix.map_bytes},
                     {"permutations", matrix.perm_bytes}};
  }
  return json;
}

template <class Wanted>
MatrixTotal sum_if(const std::vector<MatrixReport>& matrices, Wanted wanted) {
  MatrixTotal total;
  for (const MatrixReport& m : matrices) {
    if (wanted(m)) total.add(m);
  }
  return total;
}

}  // namespace

void MatrixTotal::add(const MatrixReport& matrix) {
  for (size_t b = 0; b < weights.size(); ++b) weights[b] += matrix.weights[b];
  n_weights += matrix.n_weights();
  bytes += matrix.bytes();
}

double MatrixTotal::bpw() const {
  return n_weights > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(n_weights) : 0;
}

double MatrixTotal::code_bits() const {
  int64_t packed = 0, bits = 0;
  for (size_t b = 1; b < weights.size(); ++b) {
    packed += weights[b];
    bits += static_cast<int64_t>(b) * weights[b];
  }
  return packed > 0 ? static_cast<double>(bits) / static_cast<double>(packed) : 0;
}

MatrixTotal ModelReport::total() const {
  return sum_if(matrices, [](const MatrixReport&) { return true; });
}
MatrixTotal ModelReport::total(int64_t layer) const {
  return sum_if(matrices, [&](const MatrixReport& m) { return m.layer == layer; });
}
MatrixTotal ModelReport::total(Proj p) const {
  return sum_if(matrices, [&](const MatrixReport& m) { return m.slot.proj() == p; });
}

std::map<int64_t, MatrixTotal> ModelReport::experts(int64_t layer) const {
  std::map<int64_t, MatrixTotal> totals;
  for (const MatrixReport& m : matrices) {
    if (m.layer == layer && m.of_expert) totals[m.slot.expert()].add(m);
  }
  return totals;
}

ModelReport report_model(const ModelWeights& weights) {
  const auto* packed = dynamic_cast<const PackedWeights*>(&weights);
  const Checkpoint& checkpoint = weights.checkpoint();
  ModelReport report;
  report.packed = packed != nullptr;
  for (int64_t layer = 0; layer < weights.config().n_layers; ++layer) {
    for (const Slot slot : slots(weights.config(), layer)) {
      report.matrices.push_back(report_linear(weights, packed, layer, slot));
    }
  }
  report.vocab.push_back(report_vocab(weights, packed, kEmbedMatrix));
  if (!weights.config().tied_embeddings) report.vocab.push_back(report_vocab(weights, packed, kHeadMatrix));
  for (const std::string& name : checkpoint.names()) {
    const TensorView& tensor = checkpoint.get(name);
    report.dtype_bytes[std::string(dtype_name(tensor.dtype))] += static_cast<int64_t>(tensor.bytes.size());
    if (!is_part_of_packed(checkpoint, name)) report.parameters += tensor.n_elements();
  }
  for (const auto* list : {&report.matrices, &report.vocab}) {
    for (const MatrixReport& m : *list) {
      if (m.dense_bytes == 0) report.parameters += m.n_weights();
    }
  }
  report.tensor_bytes = checkpoint.tensor_bytes();
  report.file_bytes = checkpoint.file_bytes();
  return report;
}

Json to_json(const ModelReport& report, const ModelConfig& config) {
  Json json = {{"architecture", config.architecture},
               {"packed", report.packed},
               {"n_layers", config.n_layers},
               {"d_model", config.d_model},
               {"d_ff", config.d_ff},
               {"n_experts", config.experts.n_experts},
               {"n_active_experts", config.experts.n_active},
               {"d_ff_of_expert", config.experts.d_ff},
               {"n_heads", config.n_heads},
               {"n_kv_heads", config.n_kv_heads},
               {"head_dim", config.head_dim},
               {"vocab_size", config.vocab_size},
               {"max_context", config.max_context},
               {"parameters", report.parameters},
               {"file_bytes", report.file_bytes},
               {"tensor_bytes", report.tensor_bytes},
               {"dtype_bytes", report.dtype_bytes}};
  json.update(total_json(report.total()));
  json["vocab"] = Json::object();
  for (const MatrixReport& m : report.vocab) json["vocab"][m.name] = matrix_json(m);
  json["matrix_kinds"] = Json::object();
  for (const Proj p : kProjections) json["matrix_kinds"][proj_name(p)] = total_json(report.total(p));
  json["layers"] = Json::array();
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    Json entry = {{"layer", layer}};
    entry.update(total_json(report.total(layer)));
    for (const MatrixReport& m : report.matrices) {
      if (m.layer == layer) entry["matrices"][slot_name(config, layer, m.slot)] = matrix_json(m);
    }
    json["layers"].push_back(std::move(entry));
  }
  return json;
}

std::vector<std::string> block_map(const BlockGrid& grid, std::span<const uint8_t> bits, int64_t max_rows,
                                   int64_t max_cols) {
  SCALEBITS_CHECK(static_cast<int64_t>(bits.size()) == grid.n_blocks() && max_rows > 0 && max_cols > 0);
  const int64_t rows = std::min(grid.row_blocks(), max_rows), cols = std::min(grid.col_blocks(), max_cols);
  std::vector<std::string> map;
  for (int64_t r = 0; r < rows; ++r) {
    std::string line;
    for (int64_t c = 0; c < cols; ++c) {
      int64_t sum = 0, count = 0;
      for (int64_t i = r * grid.row_blocks() / rows; i < (r + 1) * grid.row_blocks() / rows; ++i) {
        for (int64_t j = c * grid.col_blocks() / cols; j < (c + 1) * grid.col_blocks() / cols; ++j, ++count) {
          sum += bits[static_cast<size_t>(i * grid.col_blocks() + j)];
        }
      }
      line += static_cast<char>('0' + (2 * sum + count) / (2 * count));
    }
    map.push_back(std::move(line));
  }
  return map;
}

}  // namespace scalebits
