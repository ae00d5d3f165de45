// SPDX-License-Identifier: Apache-2.0
#include "scalebits/pack/pack.h"

#include <algorithm>
#include <map>

#include "scalebits/base/errors.h"
#include "scalebits/base/hash.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/io/checkpoint_writer.h"
#include "scalebits/io/packed_config.h"
#include "scalebits/io/plan_file.h"
#include "scalebits/model/vocab.h"
#include "scalebits/pack/tensor_bytes.h"
#include "scalebits/pack/tie.h"
#include "scalebits/quantize/pack_linear.h"

namespace scalebits {
namespace {

/// Rows of a large dense tensor that are permuted and written at once.
constexpr int64_t kRowsAtOnce = 4096;

const LinearPlan* find_matrix(const std::vector<LinearPlan>& matrices, const std::string& weight_name) {
  for (const LinearPlan& matrix : matrices) {
    if (weight_name == matrix.name + ".weight") return &matrix;
  }
  return nullptr;
}

/// Where a tensor of the dense checkpoint stands: a linear layer, or a tensor with residual channels in some dimension.
struct Place {
  int64_t layer = -1;
  std::optional<Slot> slot;
  int residual_dim = -1;  ///< dimension whose channels are the residual stream's
};

std::map<std::string, Place> places(const ModelConfig& config) {
  std::map<std::string, Place> map = {
      {kEmbedName, {-1, {}, 1}}, {kHeadName, {-1, {}, 1}}, {kFinalNormName, {-1, {}, 0}}};
  for (int64_t l = 0; l < config.n_layers; ++l) {
    for (const std::string& norm : norm_names(config, l).residual()) map[norm] = {l, {}, 0};
    if (config.has_experts(l)) map[router_name(config, l)] = {l, {}, 1};
    for (const Slot slot : slots(config, l)) {
      map[linear_name(config, l, slot) + ".weight"] = {l, slot, -1};
      map[linear_name(config, l, slot) + ".bias"] = {l, slot, -1};
    }
  }
  return map;
}

/// Those that are tensors of this layer, with the end of their name.
std::vector<std::pair<const char*, const Permutation*>> stored_permutations(const LinearPlan& linear) {
  std::vector<std::pair<const char*, const Permutation*>> parts;
  if (!linear.row_perm.empty()) parts.emplace_back(".row_perm", &linear.row_perm);
  if (!linear.col_perm.empty() && !linear.shares_cols) parts.emplace_back(".col_perm", &linear.col_perm);
  return parts;
}

std::vector<TensorSpec> packed_specs(const LinearPlan& linear) {
  int64_t codes = 0, scales = 0, zeros = 0;
  for (int64_t b = 0; b < linear.grid.n_blocks(); ++b) {
    codes += linear.grid.code_bytes(b, linear.bits[static_cast<size_t>(b)]);
    zeros += linear.grid.zero_bytes(b, linear.bits[static_cast<size_t>(b)]);
    scales += linear.grid.scale_bytes(b);
  }
  std::vector<TensorSpec> specs = {
      {linear.name + ".codes", DType::kU8, {codes}},
      {linear.name + ".bits", DType::kU8, {linear.grid.row_blocks(), linear.grid.col_blocks()}},
      {linear.name + ".scales", DType::kU8, {scales}},
      {linear.name + ".zeros", DType::kU8, {zeros}}};
  for (const auto& [part, perm] : stored_permutations(linear)) {
    const auto length = static_cast<int64_t>(perm->size());
    specs.push_back({linear.name + part, permutation_entry_bytes(length) == 2 ? DType::kI16 : DType::kI32, {length}});
  }
  return specs;
}

/// Tensors of the packed checkpoint, in the order of the dense one's files.
std::vector<TensorSpec> all_specs(const Checkpoint& dense, const ModelConfig& config, const Plan& plan) {
  std::vector<LinearPlan> matrices = vocab_plans(config, plan.spec, plan.vocab);
  matrices.insert(matrices.end(), plan.linears.begin(), plan.linears.end());
  std::vector<TensorSpec> specs;
  for (const SafetensorsFile& file : dense.files()) {
    for (const TensorView& tensor : file.tensors()) {
      if (const LinearPlan* matrix = find_matrix(matrices, tensor.name)) {
        const auto packed = packed_specs(*matrix);
        specs.insert(specs.end(), packed.begin(), packed.end());
      } else {
        specs.push_back({tensor.name, tensor.dtype, tensor.shape});
      }
    }
  }
  return specs;
}

class PackedWriter {
 public:
  PackedWriter(const DenseWeights& weights, const Plan& plan, const Rounding& rounding,
               const std::filesystem::path& dir, Log& log)
      : weights_(weights),
        plan_(plan),
        rounding_(rounding),
        vocab_(vocab_plans(weights.config(), plan.spec, plan.vocab)),
        quantizer_(group_quantizer(plan.quantizer)),
        places_(places(weights.config())),
        writer_(dir, all_specs(weights.checkpoint(), weights.config(), plan), /*checksums=*/true),
        log_(log) {}

  void run() {
    int64_t done = 0;
    const auto total = static_cast<int64_t>(weights_.checkpoint().names().size());
    for (const SafetensorsFile& file : weights_.checkpoint().files()) {
      for (const TensorView& tensor : file.tensors()) {
        throw_if_stopped();
        log_.progress("packing", done++, total);
        write(tensor);
        weights_.checkpoint().release(tensor);
      }
    }
    writer_.finish();
    log_.progress("packing", total, total);
  }

 private:
  void write(const TensorView& tensor) {
    const auto found = places_.find(tensor.name);
    const Place place = found == places_.end() ? Place{} : found->second;
    if (const LinearPlan* linear = find_matrix(plan_.linears, tensor.name)) {
      write_linear(*linear, place);
    } else if (const LinearPlan* matrix = find_matrix(vocab_, tensor.name)) {
      write_parts(matrix->name, pack_vocab(weights_, *matrix, quantizer_).view());
    } else if (place.slot) {
      const at::Tensor t = tensor.name.ends_with(".bias") ? weights_.bias(place.layer, *place.slot)
                                                          : weights_.weight(place.layer, *place.slot);
      write_floats(tensor, t);
    } else if (place.residual_dim >= 0 && !plan_.order.residual.empty()) {
      write_permuted(tensor, place.residual_dim);
    } else {
      writer_.write(tensor.name, tensor.bytes);
    }
  }

  void write_linear(const LinearPlan& linear, const Place& place) {
    const auto index = static_cast<size_t>(&linear - plan_.linears.data());
    if (rounding_.ready.empty()) {
      const at::Tensor w = in_order(weights_.weight(place.layer, *place.slot), linear.order()).contiguous();
      const std::span<const float> floats(w.data_ptr<float>(), static_cast<size_t>(w.numel()));
      const std::vector<float> importance = in_stored_order(rounding_.moments, index, weights_.config(), plan_.order,
                                                            place.layer, *place.slot, linear.order().cols);
      write_parts(linear.name, pack_linear(linear, floats, quantizer_, importance).view());
    } else {
      write_parts(linear.name, rounding_.ready[index].view());
    }
    for (const auto& [part, perm] : stored_permutations(linear)) {
      const std::vector<uint8_t> bytes = store_permutation(*perm);
      writer_.write(linear.name + part, std::as_bytes(std::span(bytes)));
    }
  }

  void write_parts(const std::string& name, const PackedView& view) {
    writer_.write(name + ".codes", std::as_bytes(view.codes));
    writer_.write(name + ".bits", std::as_bytes(view.bits));
    writer_.write(name + ".scales", std::as_bytes(view.scales));
    writer_.write(name + ".zeros", std::as_bytes(view.zeros));
  }

  /// Values come back in the dtype they were stored in, so nothing is rounded.
  void write_floats(const TensorView& tensor, const at::Tensor& values) {
    const at::Tensor t = values.contiguous();
    writer_.write(tensor.name,
                  to_bytes({t.data_ptr<float>(), static_cast<size_t>(t.numel())}, tensor.dtype, tensor.name));
  }

  void write_permuted(const TensorView& tensor, int dim) {
    const int64_t rows = dim == 1 ? tensor.shape.at(0) : 1, width = tensor.n_elements() / std::max<int64_t>(rows, 1);
    for (int64_t first = 0; first < rows; first += kRowsAtOnce) {
      const int64_t n = std::min(kRowsAtOnce, rows - first);
      TensorView part = tensor;
      part.shape = {n, width};
      const auto row_bytes = static_cast<size_t>(width * dtype_bytes(tensor.dtype));
      part.bytes = tensor.bytes.subspan(static_cast<size_t>(first) * row_bytes, static_cast<size_t>(n) * row_bytes);
      at::Tensor t = at::empty({n, width}, at::kFloat);
      read_floats(part, {t.data_ptr<float>(), static_cast<size_t>(t.numel())});
      write_floats(tensor, permute_dim(t, 1, plan_.order.residual));
    }
  }

  const DenseWeights& weights_;
  const Plan& plan_;
  const Rounding& rounding_;
  std::vector<LinearPlan> vocab_;
  const GroupQuantizer& quantizer_;
  std::map<std::string, Place> places_;
  CheckpointWriter writer_;
  Log& log_;
};

}  // namespace

PackedSize packed_size(const Checkpoint& dense, const ModelConfig& config, const Plan& plan) {
  PackedSize size;
  size.quantized_bytes = plan.bytes();
  const std::vector<LinearPlan> vocab = vocab_plans(config, plan.spec, plan.vocab);
  for (const SafetensorsFile& file : dense.files()) {
    for (const TensorView& tensor : file.tensors()) {
      if (find_matrix(plan.linears, tensor.name) != nullptr) continue;
      int64_t& bytes = tensor.name == kEmbedName  ? size.embed_bytes
                       : tensor.name == kHeadName ? size.head_bytes
                                                  : size.dense_bytes;
      const LinearPlan* matrix = find_matrix(vocab, tensor.name);
      bytes += matrix != nullptr ? matrix->bytes() : static_cast<int64_t>(tensor.bytes.size());
    }
  }
  size.file_bytes = checkpoint_file_bytes(all_specs(dense, config, plan), /*checksums=*/true);
  return size;
}

std::string model_fingerprint(const Checkpoint& checkpoint) {
  Hasher hasher;
  for (const std::string& name : checkpoint.names()) {
    const TensorView& tensor = checkpoint.get(name);
    hasher.update(fmt::format("{} {} {}\n", name, dtype_name(tensor.dtype), fmt::join(tensor.shape, "x")));
    hasher.update(tensor.bytes);
    checkpoint.release(tensor);
  }
  return hasher.hex();
}

void check_plan_fits(const Plan& plan, const ModelConfig& config, const std::string& fingerprint) {
  check_plan(plan);
  if (plan.model_fingerprint != fingerprint) {
    fail<InvalidArgument>("plan", "model: got a plan for fingerprint {}, expected {}. It was made for another model.",
                          plan.model_fingerprint, fingerprint);
  }
  check_folded_order(config, plan.order);
  (void)vocab_plans(config, plan.spec, plan.vocab);  // throws for two widths of one matrix
  std::map<std::string, LinearShape> shapes;
  for (int64_t l = 0; l < config.n_layers; ++l) {
    for (const Slot slot : slots(config, l)) {
      shapes[linear_name(config, l, slot)] = linear_shape(config, l, slot);
    }
  }
  check_tie(plan, config);
  for (const LinearPlan& linear : plan.linears) {
    const auto shape = shapes.find(linear.name);
    if (shape == shapes.end())
      fail<FormatError>("plan", "linear layer {}: the model has none of this name", linear.name);
    if (linear.grid.out_features() != shape->second.out_features ||
        linear.grid.in_features() != shape->second.in_features) {
      fail<FormatError>("plan", "shape of {}: got {} x {}, expected {} x {}", linear.name, linear.grid.out_features(),
                        linear.grid.in_features(), shape->second.out_features, shape->second.in_features);
    }
  }
}

PackedSize write_packed(const std::shared_ptr<const Checkpoint>& dense, const ModelConfig& config, const Plan& plan,
                        const Rounding& rounding, const Json& extra, const std::filesystem::path& dir, Log& log) {
  SCALEBITS_CHECK(rounding.ready.empty() == !is_compensated(plan.quantizer));
  SCALEBITS_CHECK(rounding.moments.empty() || rounding.moments.size() == plan.linears.size());
  const DenseWeights weights(dense, config, plan.order);
  PackedWriter(weights, plan, rounding, dir, log).run();

  PackedConfig packed;
  packed.spec = plan.spec;
  packed.bits = plan.bpw();
  packed.quantizer = plan.quantizer;
  packed.method = plan.method;
  packed.reorder = plan.reorder;
  packed.reorder_mode = plan.reorder_mode;
  packed.tie = plan.tie;
  packed.calib_hash = plan.calib_hash;
  packed.seed = plan.seed;
  write_text_file(dir / "plan.json", plan_to_json(plan, extra));
  std::vector<std::string> names = copy_companion_files(dense->dir(), dir);
  names.emplace_back("plan.json");
  for (const std::string& name : names) packed.files[name] = hash_hex(std::string_view(read_text_file(dir / name)));
  write_text_file(dir / "config.json", add_packed_config(dense->dir(), packed));
  return packed_size(*dense, config, plan);
}

}  // namespace scalebits
