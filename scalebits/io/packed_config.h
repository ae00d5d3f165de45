// SPDX-License-Identifier: Apache-2.0
/// The `quantization_config` section of a packed checkpoint's config.json (docs/format.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "scalebits/format/grid.h"

namespace scalebits {

inline constexpr const char* kQuantMethod = "scalebits";
/// Raised when a reader of the former version would read wrong weights.
inline constexpr int kPackedVersion = 2;

struct PackedConfig {
  int version = kPackedVersion;
  BlockSpec spec;
  double bits = 0.0;  ///< bpw over the packed layers, every byte counted
  std::string quantizer, method, reorder, calib_hash;
  std::string reorder_mode = "folded";  ///< fused: matrices may have a row_perm and a col_perm
  std::string tie = "none";             ///< fused: of q k v, and of gate up, only the first packed one has a col_perm
  uint64_t seed = 0;
  /// xxh3 of every other file of the directory (tokenizer, plan), by file name.
  std::map<std::string, std::string> files;
};

/// config.json of the dense model with `quantization_config` added.
std::string add_packed_config(const std::filesystem::path& dense_dir, const PackedConfig& packed);

/// @throws FormatError (missing or malformed), Unsupported (another quant_method, a newer version)
PackedConfig read_packed_config(const std::filesystem::path& dir);

}  // namespace scalebits
