// SPDX-License-Identifier: Apache-2.0
/// GGUF files of llama.cpp, versions 2 and 3, little endian: metadata and where the tensors lie.
/// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/file.h"

namespace scalebits {

/// Kinds of metadata values; the numbers are the file's.
enum class GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
std::string_view gguf_type_name(GgufType type);  ///< "u8", "string", ...

/// How ggml stores a tensor: `block_bytes` for every `block_size` elements of a row.
struct GgmlType {
  uint32_t id;
  std::string_view name;
  uint32_t block_size, block_bytes;
};
/// Nothing for ids that ggml does not have or has given up.
const GgmlType* find_ggml_type(uint32_t id);

struct GgufTensor {
  std::string name;
  const GgmlType* type = nullptr;
  std::vector<int64_t> shape;        ///< slowest axis first, as elsewhere here; the file has the fastest first
  std::span<const std::byte> bytes;  ///< aligned to general.alignment in the file
};

/// One mapped file, wholly checked when opened: counts and lengths against what is left of the file, UTF-8 keys and
/// texts, no key and no tensor twice, alignment, known tensor types, tensors inside the file that do not overlap.
class GgufFile {
 public:
  /// @throws IoError; FormatError (names the file and the key or tensor); Unsupported: version 1, big endian, an array
  ///         of arrays, a tensor type that is not ggml's
  explicit GgufFile(const std::filesystem::path& path);

  [[nodiscard]] uint32_t version() const { return version_; }
  [[nodiscard]] const std::vector<GgufTensor>& tensors() const { return tensors_; }  ///< in the file's order
  [[nodiscard]] std::string where() const { return file_.path().string(); }
  [[nodiscard]] const MappedFile& file() const { return file_; }

  /// Each gives nothing where the key is missing. @throws FormatError when it holds another kind of value
  [[nodiscard]] bool contains(std::string_view key) const { return values_.find(key) != values_.end(); }
  [[nodiscard]] std::optional<std::string_view> text(std::string_view key) const;
  [[nodiscard]] std::optional<bool> flag(std::string_view key) const;
  /// An integer of any width. @throws FormatError outside of [lowest, highest]
  [[nodiscard]] std::optional<int64_t> integer(std::string_view key, int64_t lowest, int64_t highest) const;
  [[nodiscard]] std::optional<std::vector<std::string_view>> texts(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<float>> floats(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<int32_t>> integers(std::string_view key) const;

  /// As the accessors complain: `[file] key: got <got>, expected <expected>.`
  [[noreturn]] void malformed(std::string_view key, std::string_view got, std::string_view expected) const;

 private:
  friend class GgufParser;
  /// A value as it lies in the file; of an array its elements.
  struct Value {
    GgufType type = GgufType::kU8;  ///< of an array its elements' type
    bool is_array = false;
    uint64_t count = 1;
    std::span<const std::byte> bytes;
  };
  [[nodiscard]] const Value* find(std::string_view key) const;
  [[nodiscard]] const Value* find(std::string_view key, GgufType type, bool is_array) const;
  [[noreturn]] void wrong_kind(std::string_view key, const Value& value, std::string_view expected) const;

  MappedFile file_;
  uint32_t version_ = 0;
  std::map<std::string, Value, std::less<>> values_;
  std::vector<GgufTensor> tensors_;
};

/// Whether a file begins as a GGUF file does. False for what cannot be read.
bool is_gguf(const std::filesystem::path& path);

}  // namespace scalebits
