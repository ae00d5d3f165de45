// SPDX-License-Identifier: Apache-2.0
#include "scalebits/calibrate/stats_file.h"

#include <cstring>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

constexpr std::array kFields = {&BlockSensitivity::up,      &BlockSensitivity::down,      &BlockSensitivity::restore,
                                &BlockSensitivity::err,     &BlockSensitivity::err_up,    &BlockSensitivity::err_down,
                                &BlockSensitivity::move_up, &BlockSensitivity::move_down, &BlockSensitivity::fisher};

struct Channel {
  const char* suffix;
  std::vector<double> LinearSensitivity::*values;
  bool rows;
};
constexpr std::array<Channel, 4> kChannels = {{{".row_score", &LinearSensitivity::row_score, true},
                                               {".col_score", &LinearSensitivity::col_score, false},
                                               {".row_fisher", &LinearSensitivity::row_fisher, true},
                                               {".col_fisher", &LinearSensitivity::col_fisher, false}}};

std::vector<double> read(const std::map<std::string, const TensorView*>& tensors, const std::string& name, int64_t n,
                         const std::filesystem::path& path) {
  const auto found = tensors.find(name);
  if (found == tensors.end() || found->second->dtype != DType::kF64 || found->second->n_elements() != n) {
    fail<FormatError>(path.string(), "{}: missing or of the wrong size, expected {} F64 values. Was the file edited?",
                      name, n);
  }
  std::vector<double> values(static_cast<size_t>(n));
  std::memcpy(values.data(), found->second->bytes.data(), values.size() * sizeof(double));
  return values;
}

}  // namespace

void save_stats(const std::filesystem::path& path, const PassResult& result, const QuantizedLayers& layers,
                const std::string& fingerprint) {
  std::vector<TensorSpec> specs;
  for (const auto& item : layers.items) {
    specs.push_back({item.name + ".blocks", DType::kF64, {item.grid.n_blocks(), static_cast<int64_t>(kFields.size())}});
    for (const Channel& c : kChannels) {
      specs.push_back(
          {item.name + c.suffix, DType::kF64, {c.rows ? item.grid.out_features() : item.grid.in_features()}});
    }
  }
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  SafetensorsWriter writer(temporary, specs, {{"fingerprint", fingerprint}, {"loss", fmt::format("{}", result.loss)}},
                           /*checksums=*/false);
  for (size_t i = 0; i < layers.items.size(); ++i) {
    std::vector<double> blocks;
    for (const BlockSensitivity& b : result.linears[i].blocks) {
      for (const auto field : kFields) blocks.push_back(b.*field);
    }
    writer.write(layers.items[i].name + ".blocks", std::as_bytes(std::span(blocks)));
    for (const Channel& c : kChannels) {
      writer.write(layers.items[i].name + c.suffix, std::as_bytes(std::span(result.linears[i].*(c.values))));
    }
  }
  writer.finish();
  std::filesystem::rename(temporary, path);
}

std::optional<PassResult> load_stats(const std::filesystem::path& path, const QuantizedLayers& layers,
                                     const std::string& fingerprint) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const SafetensorsFile file(path);
  const auto stored = file.metadata().find("fingerprint");
  if (stored == file.metadata().end() || stored->second != fingerprint) return std::nullopt;
  std::map<std::string, const TensorView*> tensors;
  for (const TensorView& t : file.tensors()) tensors[t.name] = &t;
  PassResult result;
  if (file.metadata().contains("loss")) result.loss = std::strtod(file.metadata().at("loss").c_str(), nullptr);
  for (const auto& item : layers.items) {
    LinearSensitivity linear;
    const int64_t n = item.grid.n_blocks();
    const auto width = static_cast<int64_t>(kFields.size());
    const std::vector<double> blocks = read(tensors, item.name + ".blocks", n * width, path);
    linear.blocks.resize(static_cast<size_t>(n));
    for (size_t b = 0; b < linear.blocks.size(); ++b) {
      for (size_t f = 0; f < kFields.size(); ++f) linear.blocks[b].*kFields[f] = blocks[b * kFields.size() + f];
    }
    for (const Channel& c : kChannels) {
      linear.*(c.values) =
          read(tensors, item.name + c.suffix, c.rows ? item.grid.out_features() : item.grid.in_features(), path);
    }
    result.linears.push_back(std::move(linear));
  }
  return result;
}

}  // namespace scalebits
