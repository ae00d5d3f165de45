// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/io/json.h"
#include "scalebits/io/safetensors.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little endian and used in place");

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's own limit
constexpr size_t kMaxRank = 64;                    // as in PyTorch

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  int64_t bytes;
};
constexpr std::array kDTypes = {
    DTypeInfo{DType::kU8, "U8", 1},     DTypeInfo{DType::kI8, "I8", 1},   DTypeInfo{DType::kI16, "I16", 2},
    DTypeInfo{DType::kI32, "I32", 4},   DTypeInfo{DType::kI64, "I64", 8}, DTypeInfo{DType::kF16, "F16", 2},
    DTypeInfo{DType::kBF16, "BF16", 2}, DTypeInfo{DType::kF32, "F32", 4}, DTypeInfo{DType::kF64, "F64", 8},
    DTypeInfo{DType::kBool, "BOOL", 1},
};

const DTypeInfo& info(DType dtype) { return kDTypes.at(static_cast<size_t>(dtype)); }

/// Where a tensor's bytes are, relative to the end of the header.
struct Extent {
  uint64_t begin = 0, end = 0;
};

struct Entry {
  TensorView tensor;
  Extent extent;
};

/// Checks everything about one tensor that does not involve the others.
class EntryParser {
 public:
  EntryParser(const std::string& file, const std::string& name, const Json& json)
      : where_(fmt::format("{}: tensor {}", file, quote(name, 200))), json_(json) {
    if (!json.is_object()) fail<FormatError>(where_, "entry: got {}, expected an object.", json.type_name());
    entry_.tensor.name = name;
  }

  Entry parse() {
    entry_.tensor.dtype = parse_dtype();
    const uint64_t bytes = parse_shape();
    const Json& offsets = member("data_offsets");
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      fail<FormatError>(where_, "data_offsets: got {}, expected two non-negative integers.", describe(offsets));
    }
    const Extent extent{offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
    if (extent.begin > extent.end) {
      fail<FormatError>(where_, "data_offsets: got [{}, {}], expected begin <= end.", extent.begin, extent.end);
    }
    if (extent.end - extent.begin != bytes) {
      fail<FormatError>(where_, "data_offsets [{}, {}]: got {} bytes, expected {} for {} [{}].", extent.begin,
                        extent.end, extent.end - extent.begin, bytes, dtype_name(entry_.tensor.dtype),
                        fmt::join(entry_.tensor.shape, ", "));
    }
    entry_.extent = extent;
    return std::move(entry_);
  }

 private:
  /// A value of the file for a message; hostile ones may be long.
  static std::string describe(const Json& json) {
    return json.is_structured() ? fmt::format("{} of {} items", json.type_name(), json.size())
                                : quote(json.dump(-1, ' ', true), 40);
  }

  const Json& member(const char* key) {
    const auto found = json_.find(key);
    if (found == json_.end()) fail<FormatError>(where_, "{}: missing.", key);
    return *found;
  }

  DType parse_dtype() {
    const Json& json = member("dtype");
    if (json.is_string()) {
      for (const DTypeInfo& known : kDTypes) {
        if (json.get_ref<const std::string&>() == known.name) return known.dtype;
      }
    }
    std::string known;
    for (const DTypeInfo& one : kDTypes) known += fmt::format("{}{}", known.empty() ? "" : " ", one.name);
    fail<FormatError>(where_, "dtype: got {}, expected one of {}.", describe(json), known);
  }

  /// Fills in the shape and returns its size in bytes.
  uint64_t parse_shape() {
    const Json& json = member("shape");
    if (!json.is_array()) fail<FormatError>(where_, "shape: got {}, expected a list of sizes.", describe(json));
    if (json.size() > kMaxRank) {
      fail<FormatError>(where_, "shape: got {} dimensions, expected at most {}.", json.size(), kMaxRank);
    }
    std::optional<uint64_t> bytes = static_cast<uint64_t>(dtype_bytes(entry_.tensor.dtype));
    for (const Json& size : json) {
      if (!size.is_number_unsigned()) {
        fail<FormatError>(where_, "shape: got {}, expected non-negative integers.", describe(size));
      }
      bytes = checked_mul(*bytes, size.get<uint64_t>());
      if (!bytes || size.get<uint64_t>() > kMaxSize || *bytes > kMaxSize) {
        fail<FormatError>(where_, "shape: got a size of more than {} bytes, which overflows.", kMaxSize);
      }
      entry_.tensor.shape.push_back(size.get<int64_t>());
    }
    return *bytes;
  }

  static constexpr uint64_t kMaxSize = std::numeric_limits<int64_t>::max();
  std::string where_;
  const Json& json_;
  Entry entry_;
};

/// Length of the JSON header, checked against the file.
uint64_t header_length(std::span<const std::byte> file, const std::string& where) {
  constexpr std::string_view kLfsPointer = "version https://git-lfs";
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.starts_with(kLfsPointer)) {
    fail<FormatError>(where, "content: got a Git LFS pointer, expected the weights. Run `git lfs pull`.");
  }
  if (file.size() < kLengthBytes) {
    fail<FormatError>(where, "length: got {} bytes, expected at least {}. Was the file truncated?", file.size(),
                      kLengthBytes);
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes) {
    fail<FormatError>(where, "header length: got {} bytes, expected at most {}. Is this a safetensors file?", length,
                      kMaxHeaderBytes);
  }
  if (length > file.size() - kLengthBytes) {
    fail<FormatError>(where, "length: got {} bytes, expected at least {} (header). Was the file truncated?",
                      file.size(), kLengthBytes + length);
  }
  return length;
}

std::map<std::string, std::string> parse_metadata(const Json& json, const std::string& where) {
  if (!json.is_object()) fail<FormatError>(where, "__metadata__: got {}, expected an object.", json.type_name());
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) {
      fail<FormatError>(where, "__metadata__ {}: got {}, expected a string.", quote(key), value.type_name());
    }
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

/// Entries sorted by offset must cover the data exactly: no gap, no overlap, the last one ends where the file ends.
void check_cover(std::span<const Entry> entries, uint64_t data_begin, uint64_t file_bytes, const std::string& where) {
  uint64_t end = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Extent& extent = entries[i].extent;
    if (extent.begin != end) {
      fail<FormatError>(where, "tensor {} data_offsets: got begin {}, expected {} (the end of {}): {}.",
                        quote(entries[i].tensor.name), extent.begin, end,
                        i == 0 ? "the header" : quote(entries[i - 1].tensor.name),
                        extent.begin < end ? "tensors overlap" : "bytes between tensors belong to none");
    }
    end = extent.end;
  }
  const auto expected = checked_add(data_begin, end);
  if (!expected) fail<FormatError>(where, "data_offsets: the end {} overflows.", end);
  if (file_bytes < *expected) {
    fail<FormatError>(where, "length: got {} bytes, expected {}. Was the file truncated?", file_bytes, *expected);
  }
  if (file_bytes > *expected) {
    fail<FormatError>(where, "length: got {} bytes, expected {}. The last {} belong to no tensor.", file_bytes,
                      *expected, file_bytes - *expected);
  }
}

}  // namespace

std::string_view dtype_name(DType dtype) { return info(dtype).name; }
int64_t dtype_bytes(DType dtype) { return info(dtype).bytes; }

int64_t TensorView::n_elements() const {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string where = path.string();
  const std::span<const std::byte> bytes = file_.bytes();
  const uint64_t header_bytes = header_length(bytes, where);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, header_bytes);
  const Json header = parse_json(text, where + ": header");
  if (!header.is_object()) fail<FormatError>(where, "header: got {}, expected an object.", header.type_name());

  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name == "__metadata__") {
      metadata_ = parse_metadata(json, where);
    } else {
      entries.push_back(EntryParser(where, name, json).parse());
    }
  }
  if (entries.empty()) fail<FormatError>(where, "tensors: got 0, expected at least 1.");
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.extent.begin, a.extent.end) < std::pair(b.extent.begin, b.extent.end);
  });
  const uint64_t data_begin = kLengthBytes + header_bytes;
  check_cover(entries, data_begin, bytes.size(), where);
  for (Entry& entry : entries) {
    entry.tensor.bytes = bytes.subspan(data_begin + entry.extent.begin, entry.extent.end - entry.extent.begin);
    tensors_.push_back(std::move(entry.tensor));
  }
}

void SafetensorsFile::split(std::span<const RowSplit> splits) {
  std::vector<TensorView> result;
  for (TensorView& tensor : tensors_) {
    const auto split =
        std::find_if(splits.begin(), splits.end(), [&](const RowSplit& s) { return tensor.name.ends_with(s.suffix); });
    if (split == splits.end()) {
      result.push_back(std::move(tensor));
      continue;
    }
    int64_t rows = 0;
    for (const RowSplit::Part& part : split->parts) rows += part.rows;
    if (tensor.shape.size() != 2 || tensor.shape[0] != rows) {
      fail<FormatError>(file_.path().string(),
                        "tensor {} shape: got [{}], expected {} rows. Does config.json belong to these weights?",
                        quote(tensor.name, 200), fmt::join(tensor.shape, ", "), rows);
    }
    const std::string stem = tensor.name.substr(0, tensor.name.size() - split->suffix.size());
    const auto row_bytes = static_cast<size_t>(tensor.shape[1] * dtype_bytes(tensor.dtype));
    size_t first = 0;
    for (const RowSplit::Part& part : split->parts) {
      const size_t length = static_cast<size_t>(part.rows) * row_bytes;
      result.push_back(
          {stem + part.suffix, tensor.dtype, {part.rows, tensor.shape[1]}, tensor.bytes.subspan(first, length)});
      first += length;
    }
  }
  tensors_ = std::move(result);
}

}  // namespace scalebits
