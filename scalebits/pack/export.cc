// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/io/checkpoint_writer.h"
#include "scalebits/kernels/products.h"
#include "scalebits/pack/pack.h"
#include "scalebits/pack/tensor_bytes.h"

namespace scalebits {
namespace {

constexpr std::string_view kCodes = ".codes";

/// Part of a packed layer other than its codes: dropped from the dense checkpoint.
bool belongs_to_packed(const Checkpoint& checkpoint, const std::string& name) {
  const size_t dot = name.rfind('.');
  const std::string suffix = dot == std::string::npos ? "" : name.substr(dot);
  if (suffix == ".weight" || suffix == ".bias" || suffix == kCodes) return false;
  return checkpoint.contains(name.substr(0, dot) + std::string(kCodes));
}

const char* torch_dtype(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16";
}

/// A tensor of the dense checkpoint, and what of the packed one it is made of: one tensor, or several, one below the
/// other.
struct Output {
  std::string name;
  std::vector<const TensorView*> parts;
};

/// Name of a stored tensor in the dense checkpoint, but for fused ones.
std::string dense_name(const std::string& name) {
  return name.ends_with(kCodes) ? name.substr(0, name.size() - kCodes.size()) + ".weight" : name;
}

/// The fused tensor that `name` is part `index` of, or nothing.
struct PartOf {
  std::string name;
  size_t index, count;
};
std::optional<PartOf> part_of(const std::string& name, const std::vector<RowSplit>& fused) {
  for (const RowSplit& split : fused) {
    for (size_t i = 0; i < split.parts.size(); ++i) {
      const std::string& suffix = split.parts[i].suffix;
      if (!name.ends_with(suffix)) continue;
      return PartOf{name.substr(0, name.size() - suffix.size()) + split.suffix, i, split.parts.size()};
    }
  }
  return std::nullopt;
}

/// In the order of the packed files; a fused tensor stands where its first part does.
std::vector<Output> find_outputs(const Checkpoint& checkpoint, const std::vector<RowSplit>& fused) {
  std::vector<Output> outputs;
  std::map<std::string, size_t> fused_at;
  for (const SafetensorsFile& file : checkpoint.files()) {
    for (const TensorView& tensor : file.tensors()) {
      if (belongs_to_packed(checkpoint, tensor.name)) continue;
      const std::string name = dense_name(tensor.name);
      const auto part = part_of(name, fused);
      if (!part) {
        outputs.push_back({name, {&tensor}});
        continue;
      }
      const auto [at, fresh] = fused_at.emplace(part->name, outputs.size());
      if (fresh) outputs.push_back({part->name, std::vector<const TensorView*>(part->count, nullptr)});
      outputs[at->second].parts[part->index] = &tensor;
    }
  }
  for (const Output& output : outputs) {
    if (std::find(output.parts.begin(), output.parts.end(), nullptr) != output.parts.end()) {
      fail<FormatError>(checkpoint.dir().string(), "tensor {}: one of its parts is missing.", output.name);
    }
  }
  return outputs;
}

}  // namespace

void write_dense(const std::filesystem::path& packed_dir, DType dtype, const std::filesystem::path& dir, Log& log) {
  const auto checkpoint = std::make_shared<Checkpoint>(packed_dir);
  const PackedWeights weights(checkpoint, read_hf_config(packed_dir), read_packed_config(packed_dir));
  const ModelConfig& config = weights.config();
  using Packed = std::pair<PackedView, RowColOrder>;
  std::map<std::string, std::function<Packed()>> views;  // of what may be packed, by the name of its codes
  for (int64_t l = 0; l < config.n_layers; ++l) {
    for (const Slot slot : slots(config, l)) {
      views[linear_name(config, l, slot) + std::string(kCodes)] = [&weights, l, slot] {
        return Packed{weights.view(l, slot), weights.order(l, slot)};
      };
    }
  }
  for (const char* name : {kEmbedMatrix, kHeadMatrix}) {
    views[name + std::string(kCodes)] = [&weights, name] { return Packed{weights.vocab_view(name), {}}; };
  }

  const std::vector<Output> outputs = find_outputs(*checkpoint, fused_tensors(config));
  std::vector<TensorSpec> specs;
  for (const Output& output : outputs) {
    std::vector<int64_t> shape;
    for (const TensorView* part : output.parts) {
      std::vector<int64_t> of_part = part->shape;
      if (const auto packed = views.find(part->name); packed != views.end()) {
        const BlockGrid grid = packed->second().first.grid;
        of_part = {grid.out_features(), grid.in_features()};
      }
      if (shape.empty()) {
        shape = of_part;
      } else {
        shape[0] += of_part[0];
      }
    }
    specs.push_back({output.name, dtype, shape});
  }

  CheckpointWriter writer(dir, specs, /*checksums=*/false);
  for (size_t i = 0; i < outputs.size(); ++i) {
    throw_if_stopped();
    log.progress("exporting", static_cast<int64_t>(i), static_cast<int64_t>(specs.size()));
    for (const TensorView* part : outputs[i].parts) {
      std::vector<float> values;
      if (const auto packed = views.find(part->name); packed != views.end()) {
        const auto [view, order] = packed->second();
        values.resize(static_cast<size_t>(view.grid.n_weights()));
        decode_packed(view, check_packed(view, part->name.c_str()), values, {order.rows, order.cols});
      } else {
        values.resize(static_cast<size_t>(part->n_elements()));
        read_floats(*part, values);
      }
      writer.write(outputs[i].name, to_bytes(values, dtype, outputs[i].name));
      checkpoint->release(*part);
    }
  }
  writer.finish();
  log.progress("exporting", static_cast<int64_t>(specs.size()), static_cast<int64_t>(specs.size()));

  Json json = read_json(packed_dir / "config.json");
  json.erase("quantization_config");
  json.erase("dtype");
  json["torch_dtype"] = torch_dtype(dtype);
  write_text_file(dir / "config.json", json.dump(2) + "\n");
  copy_companion_files(packed_dir, dir);
}

}  // namespace scalebits
