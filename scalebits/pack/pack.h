// SPDX-License-Identifier: Apache-2.0
/// dense checkpoint + plan -> packed checkpoint, and packed checkpoint -> dense checkpoint.
#pragma once

#include <filesystem>

#include "scalebits/base/log.h"
#include "scalebits/calibrate/column_moments.h"
#include "scalebits/format/plan.h"
#include "scalebits/io/json.h"
#include "scalebits/model/weights.h"

namespace scalebits {

/// Bytes on disk of a packed checkpoint's weight files.
struct PackedSize {
  int64_t quantized_bytes = 0;              ///< everything that belongs to packed linear layers: what a budget counts
  int64_t embed_bytes = 0, head_bytes = 0;  ///< packed or dense; head: 0 where it is the embedding
  int64_t dense_bytes = 0;                  ///< all other tensors
  int64_t file_bytes = 0;                   ///< all of them, and the file headers
};

/// Size of the packed checkpoint that this plan gives, without making it. For plans that differ only in widths the
/// headers never grow when widths shrink.
PackedSize packed_size(const Checkpoint& dense, const ModelConfig& config, const Plan& plan);

/// Hash over names, shapes and bytes of all tensors: which model this is.
std::string model_fingerprint(const Checkpoint& checkpoint);

/// The plan must name linear layers of this model, with the right shapes, and orders of the right lengths.
/// @throws FormatError; InvalidArgument when the plan was made for another model (fingerprints differ)
void check_plan_fits(const Plan& plan, const ModelConfig& config, const std::string& fingerprint);

/// How the weights of a plan's matrices come to be rounded.
struct Rounding {
  /// As compensate() packed them, in the plan's order; empty = each group for itself.
  std::vector<PackedMatrix> ready = {};
  /// Of the same layers: what errors of groups count by that are rounded for themselves.
  ColumnMoments moments = {};
};

/// Writes the packed checkpoint into an existing directory (the staging directory of an AtomicDirectory): weights,
/// config.json, plan.json, tokenizer files. The same plan, checkpoint and rounding give the same bytes.
/// @param extra  for plan.json (see plan_to_json)
PackedSize write_packed(const std::shared_ptr<const Checkpoint>& dense, const ModelConfig& config, const Plan& plan,
                        const Rounding& rounding, const Json& extra, const std::filesystem::path& dir, Log& log);

/// Writes the dequantized weights of a packed checkpoint as an ordinary Hugging Face checkpoint.
/// @param dtype F32 (exact), F16 or BF16 (rounded)
void write_dense(const std::filesystem::path& packed_dir, DType dtype, const std::filesystem::path& dir, Log& log);

}  // namespace scalebits
