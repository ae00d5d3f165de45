// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/checkpoint_writer.h"

#include <algorithm>
#include <array>

#include "scalebits/base/errors.h"
#include "scalebits/io/json.h"

namespace scalebits {
namespace {

/// What transformers looks for before it takes a file for PyTorch weights.
const std::map<std::string, std::string> kMetadata = {{"format", "pt"}};

using Shards = std::vector<std::vector<TensorSpec>>;

int64_t bytes_of(const TensorSpec& spec) {
  int64_t bytes = dtype_bytes(spec.dtype);
  for (const int64_t n : spec.shape) bytes *= n;
  return bytes;
}

Shards cut_shards(std::span<const TensorSpec> tensors, int64_t max_bytes) {
  Shards shards(1);
  int64_t bytes = 0;
  for (const TensorSpec& spec : tensors) {
    const int64_t more = bytes_of(spec);
    if (!shards.back().empty() && bytes + more > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(spec);
    bytes += more;
  }
  return shards;
}

std::string shard_name(size_t index, size_t count) {
  return count == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

bool is_companion(const std::string& name) {
  static constexpr std::array kPrefixes = {"tokenizer",         "special_tokens_map", "added_tokens", "vocab", "merges",
                                           "generation_config", "chat_template",      "LICENSE",      "NOTICE"};
  if (name == "tokenizer.safetensors" || name.ends_with(".bin")) return false;
  return std::any_of(kPrefixes.begin(), kPrefixes.end(), [&](const char* p) { return name.starts_with(p); });
}

}  // namespace

struct CheckpointWriter::Impl {
  std::filesystem::path dir;
  Shards shards;
  bool checksums;
  size_t current = 0;
  std::unique_ptr<SafetensorsWriter> writer;
  std::map<std::string, size_t, std::less<>> shard_of;

  void open() {
    writer = std::make_unique<SafetensorsWriter>(dir / shard_name(current, shards.size()), shards[current], kMetadata,
                                                 checksums);
  }
  void write_index() const {
    int64_t total = 0;
    Json map = Json::object();
    for (size_t i = 0; i < shards.size(); ++i) {
      for (const TensorSpec& spec : shards[i]) {
        total += bytes_of(spec);
        map[spec.name] = shard_name(i, shards.size());
      }
    }
    write_text_file(dir / "model.safetensors.index.json",
                    Json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}.dump(2) + "\n");
  }
};

CheckpointWriter::CheckpointWriter(const std::filesystem::path& dir, std::vector<TensorSpec> tensors, bool checksums,
                                   int64_t max_shard_bytes)
    : impl_(std::make_unique<Impl>()) {
  SCALEBITS_CHECK(!tensors.empty());
  impl_->dir = dir;
  impl_->shards = cut_shards(tensors, max_shard_bytes);
  impl_->checksums = checksums;
  for (size_t i = 0; i < impl_->shards.size(); ++i) {
    for (const TensorSpec& spec : impl_->shards[i]) impl_->shard_of[spec.name] = i;
  }
  impl_->open();
}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  const auto shard = impl_->shard_of.find(name);
  SCALEBITS_CHECK(shard != impl_->shard_of.end() && shard->second >= impl_->current);
  while (impl_->current < shard->second) {
    impl_->writer->finish();
    ++impl_->current;
    impl_->open();
  }
  impl_->writer->write(name, bytes);
}

void CheckpointWriter::finish() {
  impl_->writer->finish();
  SCALEBITS_CHECK(impl_->current + 1 == impl_->shards.size());
  if (impl_->shards.size() > 1) impl_->write_index();
}

int64_t checkpoint_file_bytes(std::span<const TensorSpec> tensors, bool checksums, int64_t max_shard_bytes) {
  int64_t bytes = 0;
  for (const auto& shard : cut_shards(tensors, max_shard_bytes)) {
    bytes += safetensors_file_bytes(shard, kMetadata, checksums);
  }
  return bytes;
}

std::vector<std::string> copy_companion_files(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && is_companion(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) write_text_file(to / name, read_text_file(from / name));
  return names;
}

}  // namespace scalebits
