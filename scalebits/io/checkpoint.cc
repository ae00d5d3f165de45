// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "scalebits/base/errors.h"
#include "scalebits/io/json.h"
#include "scalebits/io/safetensors.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ignored;  // what cannot even be looked at fails with a reason where it is opened
  return fs::exists(path, ignored);
}

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = uint64_t{1} << 28;  // the largest public ones (60,000 tensors) are 6 MB
constexpr size_t kMaxShards = 10'000;                   // each costs a descriptor while it is opened and a mapping
constexpr size_t kMaxSuggestedName = 256;               // an edit distance costs the product of the lengths

/// tensor name -> shard file name
using WeightMap = std::map<std::string, std::string, std::less<>>;

/// Names of other weight files in `dir`, for the message that ours are not there.
std::string other_weights(const fs::path& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end; entry.increment(error)) {
    const std::string extension = entry->path().extension().string();
    if (extension == ".bin" || extension == ".gguf" || extension == ".pt" || extension == ".pth" ||
        extension == ".safetensors") {
      names.push_back(entry->path().filename().string());
    }
  }
  if (names.empty()) return "Give the directory of a Hugging Face checkpoint.";
  std::sort(names.begin(), names.end());
  return fmt::format("There is {}{}, which is not read: convert it to safetensors with Hugging Face tools first.",
                     names[0], names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "");
}

/// A shard must be a file of the checkpoint's own directory.
void check_shard_name(const std::string& name, const std::string& where) {
  if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string_view("/\\\0", 3)) != name.npos) {
    fail<FormatError>(where, "shard name: got {}, expected the plain name of a file in the same directory.",
                      quote(name));
  }
}

WeightMap read_index(const fs::path& path) {
  const std::string where = path.string();
  Json json = read_json(path, kMaxIndexBytes);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object()) {
    fail<FormatError>(where, "weight_map: missing, expected an object from tensor names to file names.");
  }
  WeightMap result;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) {
      fail<FormatError>(where, "weight_map {}: got {}, expected a file name.", quote(name), shard.type_name());
    }
    check_shard_name(shard.get_ref<const std::string&>(), where);
    result.emplace(name, shard.get<std::string>());
  }
  if (result.empty()) fail<FormatError>(where, "weight_map: got 0 tensors, expected at least 1.");
  return result;
}

std::vector<std::string> shard_names(const WeightMap& map, const fs::path& dir) {
  std::set<std::string> names;
  for (const auto& [tensor, shard] : map) names.insert(shard);
  if (names.size() > kMaxShards) {
    fail<FormatError>(dir.string(), "shards: got {}, expected at most {}.", names.size(), kMaxShards);
  }
  for (const std::string& name : names) {
    if (!is_there(dir / name)) {
      fail<FormatError>(dir.string(), "shard {}: missing, expected because {} names it. Was the download complete?",
                        quote(name), kIndexFile);
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& dir, std::vector<RowSplit> splits) : dir_(dir), splits_(std::move(splits)) {
  if (!is_there(dir)) fail<IoError>(dir.string(), "no such directory. Give the directory of a checkpoint.");
  if (std::error_code ignored; !fs::is_directory(dir, ignored)) {
    fail<FormatError>(dir.string(), "kind of file: got a file, expected the directory of a checkpoint.");
  }
  WeightMap index;
  if (is_there(dir / kSingleFile)) {  // as transformers does, before looking for an index
    files_.emplace_back(dir / kSingleFile);
  } else if (is_there(dir / kIndexFile)) {
    index = read_index(dir / kIndexFile);
    for (const std::string& name : shard_names(index, dir)) files_.emplace_back(dir / name);
  } else {
    fail<FormatError>(dir.string(), "weights: got neither {} nor {}. {}", kSingleFile, kIndexFile, other_weights(dir));
  }

  take_names();
  if (!index.empty()) check_index(index);
  if (splits_.empty()) return;
  for (SafetensorsFile& file : files_) file.split(splits_);
  take_names();
}

void Checkpoint::take_names() {
  by_name_.clear();
  owner_.clear();
  for (const SafetensorsFile& file : files_) {
    for (const TensorView& tensor : file.tensors()) {
      const auto [known, fresh] = by_name_.emplace(tensor.name, &tensor);
      if (!fresh) {
        fail<FormatError>(dir_.string(), "tensor {}: got it in both {} and {}, expected it once.", quote(tensor.name),
                          owner_.at(known->second)->path().filename().string(), file.file().path().filename().string());
      }
      owner_.emplace(&tensor, &file.file());
    }
    metadata_.insert(file.metadata().begin(), file.metadata().end());
  }
}

void Checkpoint::check_index(const std::map<std::string, std::string, std::less<>>& index) const {
  const std::string where = (dir_ / kIndexFile).string();
  for (const auto& [name, shard] : index) {
    const auto found = by_name_.find(name);
    if (found == by_name_.end() || owner_.at(found->second)->path().filename() != shard) {
      fail<FormatError>(where, "tensor {}: expected in {}, which does not hold it.", quote(name), shard);
    }
  }
  for (const auto& [name, tensor] : by_name_) {
    if (!index.contains(name)) {
      fail<FormatError>(where, "tensor {}: missing, but {} holds it.", quote(name),
                        owner_.at(tensor)->path().filename().string());
    }
  }
}

bool Checkpoint::contains(std::string_view name) const { return by_name_.find(name) != by_name_.end(); }

const TensorView& Checkpoint::get(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found != by_name_.end()) return *found->second;
  size_t least = kMaxSuggestedName;
  std::string_view nearest;
  for (const auto& [candidate, tensor] : by_name_) {
    if (std::max(candidate.size(), name.size()) > kMaxSuggestedName) continue;
    const size_t distance = edit_distance(name, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  std::string hint = nearest.empty() ? "" : fmt::format(" The nearest name is {}.", quote(nearest, 200));
  for (const RowSplit& split : splits_) {
    for (const RowSplit::Part& part : split.parts) {
      if (!name.ends_with(part.suffix)) continue;
      const std::string_view stem = name.substr(0, name.size() - part.suffix.size());
      hint = fmt::format(" It is a part of {}{}, which is missing too.", stem, split.suffix);
    }
  }
  fail<FormatError>(dir_.string(), "tensor {}: missing.{}", quote(name, 200), hint);
}

const TensorView& Checkpoint::get(std::string_view name, std::span<const int64_t> shape) const {
  const TensorView& tensor = get(name);
  if (!std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end())) {
    fail<FormatError>(dir_.string(),
                      "tensor {} shape: got [{}], expected [{}]. Does config.json belong to these weights?",
                      quote(name, 200), fmt::join(tensor.shape, ", "), fmt::join(shape, ", "));
  }
  return tensor;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(by_name_.size());
  for (const auto& [name, tensor] : by_name_) names.push_back(name);
  return names;
}

int64_t Checkpoint::tensor_bytes() const {
  int64_t total = 0;
  for (const auto& [name, tensor] : by_name_) total += static_cast<int64_t>(tensor->bytes.size());
  return total;
}

int64_t Checkpoint::file_bytes() const {
  int64_t total = 0;
  for (const SafetensorsFile& file : files_) total += static_cast<int64_t>(file.file().bytes().size());
  return total;
}

void Checkpoint::release(const TensorView& tensor) const {
  const auto owner = owner_.find(&tensor);
  SCALEBITS_CHECK(owner != owner_.end());
  owner->second->release(tensor.bytes);
}

}  // namespace scalebits
