// SPDX-License-Identifier: Apache-2.0
/// safetensors files and sharded checkpoints: mapped reading with every check, streamed writing.
/// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/file.h"

namespace scalebits {

enum class DType { kU8, kI8, kI16, kI32, kI64, kF16, kBF16, kF32, kF64, kBool };
std::string_view dtype_name(DType dtype);  ///< as in the file: "BF16"
int64_t dtype_bytes(DType dtype);

/// One tensor of a mapped file.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  ///< may be unaligned
  [[nodiscard]] int64_t n_elements() const;
};

/// Matrices stored as one tensor, one below the other: how a name ends, and the endings and rows of its parts.
struct RowSplit {
  struct Part {
    std::string suffix;
    int64_t rows;
  };
  std::string suffix;
  std::vector<Part> parts;
};

/// One mapped .safetensors file, wholly checked when opened: header length (at most 100 MB), JSON, known dtypes, shape
/// x dtype = bytes, offsets inside the file, no overlap, no gap, no duplicate name, at least one tensor.
class SafetensorsFile {
 public:
  /// @throws IoError, FormatError (each names the file and the tensor)
  explicit SafetensorsFile(const std::filesystem::path& path);
  [[nodiscard]] const std::vector<TensorView>& tensors() const { return tensors_; }  ///< by offset
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  [[nodiscard]] const MappedFile& file() const { return file_; }
  /// Puts views of the parts in the place of every tensor that is to be split.
  /// @throws FormatError naming a tensor that has not as many rows as its parts together
  void split(std::span<const RowSplit> splits);

 private:
  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// All tensors of a checkpoint directory: `model.safetensors`, or the shards of `model.safetensors.index.json`.
class Checkpoint {
 public:
  /// @throws IoError, FormatError: no weights (says when only .bin or .gguf files are there), missing shard, a tensor
  /// in
  ///         two shards, an index that names a tensor its shard does not hold or misses one that it holds
  /// @param splits  tensors that are shown as their parts, everywhere below. @throws FormatError as
  ///        SafetensorsFile::split
  explicit Checkpoint(const std::filesystem::path& dir, std::vector<RowSplit> splits = {});

  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }
  [[nodiscard]] bool contains(std::string_view name) const;
  /// @throws FormatError naming the missing tensor (and the nearest name that is there)
  [[nodiscard]] const TensorView& get(std::string_view name) const;
  /// The same, and checks the shape.
  [[nodiscard]] const TensorView& get(std::string_view name, std::span<const int64_t> shape) const;
  [[nodiscard]] std::vector<std::string> names() const;  ///< sorted
  /// `__metadata__` of every shard together.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  [[nodiscard]] const std::vector<SafetensorsFile>& files() const { return files_; }
  [[nodiscard]] int64_t tensor_bytes() const;
  [[nodiscard]] int64_t file_bytes() const;
  /// Lets a tensor's pages leave the resident set.
  void release(const TensorView& tensor) const;

 private:
  /// Fills by_name_, owner_ and metadata_ from files_.
  void take_names();
  void check_index(const std::map<std::string, std::string, std::less<>>& index) const;

  std::filesystem::path dir_;
  std::vector<RowSplit> splits_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, const TensorView*, std::less<>> by_name_;
  std::map<const TensorView*, const MappedFile*> owner_;
  std::map<std::string, std::string> metadata_;
};

/// Copies a float tensor (F32, F16, BF16) to f32.
/// @param out [tensor.n_elements()]; on an error its content is unspecified
/// @throws FormatError for another dtype, or at the first NaN or Inf (names tensor and index)
void read_floats(const TensorView& tensor, std::span<float> out);

/// What a file will hold, in the order its bytes will be written.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

/// Exact length of the file that SafetensorsWriter writes for the same arguments.
/// @throws InvalidArgument as the writer does
int64_t safetensors_file_bytes(std::span<const TensorSpec> tensors, const std::map<std::string, std::string>& metadata,
                               bool checksums);

/// Writes one safetensors file tensor by tensor; its header is known before the data. Data begins at a multiple of 64
/// bytes. `checksums`: for every tensor a metadata entry `xxh3:<name>` of 16 hex digits (hash_hex of its bytes) is
/// reserved in the header and filled in when the tensor's bytes have been seen. Without finish() the file is removed.
class SafetensorsWriter {
 public:
  /// @throws InvalidArgument: no tensors, a name twice, negative or overflowing sizes, a name or metadata that is not
  ///         UTF-8 or collides with a reserved one, a header above 100 MB; IoError
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                    std::map<std::string, std::string> metadata, bool checksums);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;
  /// Bytes of the next tensor, in one or several pieces; `name` must be the tensor whose turn it is. Tensors without
  /// elements may be left out. @throws InternalError for a wrong turn or too many bytes, IoError
  void write(std::string_view name, std::span<const std::byte> bytes);
  /// Syncs and closes. @throws InternalError when a tensor is incomplete, IoError
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace scalebits
