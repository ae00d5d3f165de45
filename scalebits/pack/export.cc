// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <map>

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

  std::vector<const TensorView*> sources;
  std::vector<TensorSpec> specs;
  for (const SafetensorsFile& file : checkpoint->files()) {
    for (const TensorView& tensor : file.tensors()) {
      if (belongs_to_packed(*checkpoint, tensor.name)) continue;
      sources.push_back(&tensor);
      const auto packed = views.find(tensor.name);
      if (packed != views.end()) {
        const BlockGrid grid = packed->second().first.grid;
        specs.push_back({tensor.name.substr(0, tensor.name.size() - kCodes.size()) + ".weight",
                         dtype,
                         {grid.out_features(), grid.in_features()}});
      } else {
        specs.push_back({tensor.name, dtype, tensor.shape});
      }
    }
  }

  CheckpointWriter writer(dir, specs, /*checksums=*/false);
  for (size_t i = 0; i < specs.size(); ++i) {
    throw_if_stopped();
    log.progress("exporting", static_cast<int64_t>(i), static_cast<int64_t>(specs.size()));
    std::vector<float> values;
    const auto packed = views.find(sources[i]->name);
    if (packed != views.end()) {
      const auto [view, order] = packed->second();
      values.resize(static_cast<size_t>(view.grid.n_weights()));
      decode_packed(view, check_packed(view, sources[i]->name.c_str()), values, {order.rows, order.cols});
    } else {
      values.resize(static_cast<size_t>(sources[i]->n_elements()));
      read_floats(*sources[i], values);
    }
    writer.write(specs[i].name, to_bytes(values, dtype, specs[i].name));
    checkpoint->release(*sources[i]);
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
