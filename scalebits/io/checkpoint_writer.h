// SPDX-License-Identifier: Apache-2.0
/// Writes the tensors of a checkpoint: one safetensors file, or numbered shards with an index.
#pragma once

#include <memory>

#include "scalebits/io/safetensors.h"

namespace scalebits {

/// Shards are closed before they would pass this size (a single larger tensor has a shard of its own).
inline constexpr int64_t kMaxShardBytes = int64_t{5'000'000'000};

class CheckpointWriter {
 public:
  /// @param tensors  all tensors, in the order in which write() will get them
  CheckpointWriter(const std::filesystem::path& dir, std::vector<TensorSpec> tensors, bool checksums,
                   int64_t max_shard_bytes = kMaxShardBytes);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  /// As SafetensorsWriter::write.
  void write(std::string_view name, std::span<const std::byte> bytes);
  /// Closes the last shard and writes the index.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Bytes of all the weight files that CheckpointWriter writes for these tensors, headers included.
int64_t checkpoint_file_bytes(std::span<const TensorSpec> tensors, bool checksums,
                              int64_t max_shard_bytes = kMaxShardBytes);

/// Copies tokenizer, generation config, chat template and licence files byte for byte.
/// @return their names, sorted
std::vector<std::string> copy_companion_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace scalebits
