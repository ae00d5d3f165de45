// SPDX-License-Identifier: Apache-2.0
/// Opens a GGUF file. Every count and length is checked against the bytes that are left before it is used, so nothing
/// that a file says makes us read outside of it or allocate more than a small multiple of its size.
#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <utility>

#include "scalebits/base/checked.h"
#include "scalebits/base/errors.h"
#include "scalebits/io/gguf.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF data is little endian and used in place");

constexpr uint32_t kMaxKeyBytes = 65535;  // the format's own limit
constexpr uint64_t kMaxNameBytes = 64;    // of a tensor, likewise
constexpr uint32_t kMaxRank = 4;          // ggml's
constexpr uint64_t kDefaultAlignment = 32;
constexpr int64_t kMaxAlignment = 1 << 20;

/// Bytes of one value, 0 for those without a fixed size.
size_t fixed_bytes(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

/// A tensor and where its data begins, relative to the data of all.
struct Placed {
  GgufTensor tensor;
  uint64_t begin = 0, bytes = 0;
};

}  // namespace

class GgufParser {
 public:
  explicit GgufParser(GgufFile& file) : file_(file), where_(file.where()), bytes_(file.file_.bytes()) {}

  void parse() {
    read_version();
    const auto n_tensors = take<uint64_t>("tensor count");
    const auto n_values = take<uint64_t>("metadata count");
    // A key has at least 8 + 1 bytes, a type 4 and a value 1; a tensor 8 + 1, 4, 8, 4 and 8.
    check_count("metadata count", n_values, 14);
    check_count("tensor count", n_tensors, 33);
    for (uint64_t i = 0; i < n_values; ++i) read_value(i);
    for (uint64_t i = 0; i < n_tensors; ++i) read_tensor(i);
    place_tensors();
  }

 private:
  template <class T>
  T take(std::string_view what) {
    T value;
    std::memcpy(&value, take_bytes(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::span<const std::byte> take_bytes(uint64_t count, std::string_view what) {
    if (count > bytes_.size() - pos_) {
      fail<FormatError>(where_, "{}: got {} bytes to the end of the file, expected {}. Was the file truncated?", what,
                        bytes_.size() - pos_, count);
    }
    const auto taken = bytes_.subspan(pos_, count);
    pos_ += count;
    return taken;
  }

  std::string_view take_text(std::string_view what, uint64_t max_bytes = UINT64_MAX) {
    const auto length = take<uint64_t>(what);
    if (length > max_bytes)
      fail<FormatError>(where_, "{}: got {} bytes, expected at most {}.", what, length, max_bytes);
    const auto taken = take_bytes(length, what);
    const std::string_view text(reinterpret_cast<const char*>(taken.data()), taken.size());
    const size_t bad = find_invalid_utf8(text);
    if (bad != std::string_view::npos) {
      fail<FormatError>(where_, "{}: got {}, expected UTF-8 (byte {} is not).", what, quote(text), bad);
    }
    return text;
  }

  void check_count(std::string_view what, uint64_t count, uint64_t least_bytes) const {
    if (count > (bytes_.size() - pos_) / least_bytes) {
      fail<FormatError>(where_, "{}: got {}, expected at most {} in a file of {} bytes. Was the file truncated?", what,
                        count, (bytes_.size() - pos_) / least_bytes, bytes_.size());
    }
  }

  void read_version() {
    constexpr std::string_view kMagic = "GGUF";
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
    if (!text.starts_with(kMagic)) {
      fail<FormatError>(where_, "first bytes: got {}, expected \"GGUF\".", quote(text.substr(0, kMagic.size())));
    }
    pos_ = kMagic.size();
    file_.version_ = take<uint32_t>("version");
    if (file_.version_ != 2 && file_.version_ != 3) {
      const bool swapped = file_.version_ != 0 && (file_.version_ & 0xffffU) == 0;
      fail<Unsupported>(where_, "version: got {}, expected 2 or 3{}.", file_.version_,
                        swapped ? ", little endian. This file is big endian" : "");
    }
  }

  GgufType take_type(std::string_view what) {
    const auto type = take<uint32_t>(what);
    if (type > static_cast<uint32_t>(GgufType::kF64)) {
      fail<FormatError>(where_, "{}: got value type {}, expected one of 0 to {}.", what, type,
                        static_cast<uint32_t>(GgufType::kF64));
    }
    return static_cast<GgufType>(type);
  }

  void read_value(uint64_t index) {
    const std::string_view key = take_text(fmt::format("metadata key {}", index), kMaxKeyBytes);
    if (key.empty()) fail<FormatError>(where_, "metadata key {}: got an empty one.", index);
    const std::string name = key.size() > 80 ? quote(key) : std::string(key);
    GgufFile::Value value{take_type(name), false, 1, {}};
    if (value.type == GgufType::kArray) {
      value.is_array = true;
      value.type = take_type(name);
      if (value.type == GgufType::kArray) {
        fail<Unsupported>(where_, "{}: got an array of arrays, expected numbers or strings in it.", name);
      }
      value.count = take<uint64_t>(name);
    }
    value.bytes = take_values(value, name);
    if (!file_.values_.emplace(key, value).second) {
      fail<FormatError>(where_, "{}: got this key twice, expected once.", name);
    }
  }

  std::span<const std::byte> take_values(const GgufFile::Value& value, const std::string& name) {
    const size_t each = fixed_bytes(value.type);
    check_count(fmt::format("{}: count", name), value.count, each == 0 ? sizeof(uint64_t) : each);
    if (each != 0) {
      const auto taken = take_bytes(value.count * each, name);
      if (value.type == GgufType::kBool) check_flags(taken, name);
      return taken;
    }
    const size_t begin = pos_;
    for (uint64_t i = 0; i < value.count; ++i) {
      take_text(name);
    }
    return bytes_.subspan(begin, pos_ - begin);
  }

  void check_flags(std::span<const std::byte> flags, std::string_view name) const {
    for (const std::byte flag : flags) {
      if (flag > std::byte{1}) {
        fail<FormatError>(where_, "{}: got {}, expected 0 or 1 for a bool.", name, static_cast<int>(flag));
      }
    }
  }

  void read_tensor(uint64_t index) {
    Placed placed;
    placed.tensor.name = take_text(fmt::format("name of tensor {}", index), kMaxNameBytes);
    const std::string name = fmt::format("tensor {}", quote(placed.tensor.name));
    if (placed.tensor.name.empty()) fail<FormatError>(where_, "name of tensor {}: got an empty one.", index);
    if (!names_.insert(placed.tensor.name).second) fail<FormatError>(where_, "{}: got it twice, expected once.", name);
    const auto rank = take<uint32_t>(name);
    if (rank == 0 || rank > kMaxRank) {
      fail<FormatError>(where_, "{}: got {} dimensions, expected 1 to {}.", name, rank, kMaxRank);
    }
    std::vector<uint64_t> sizes(rank);
    for (uint64_t& size : sizes) size = take<uint64_t>(name);
    const auto type = take<uint32_t>(name);
    placed.tensor.type = find_ggml_type(type);
    if (placed.tensor.type == nullptr) {
      fail<Unsupported>(where_, "{}: got ggml type {}, expected one that this program knows.", name, type);
    }
    placed.bytes = tensor_bytes(sizes, *placed.tensor.type, name);
    placed.tensor.shape.assign(sizes.rbegin(), sizes.rend());
    placed.begin = take<uint64_t>(name);
    placed_.push_back(std::move(placed));
  }

  uint64_t tensor_bytes(const std::vector<uint64_t>& sizes, const GgmlType& type, const std::string& name) const {
    if (sizes[0] % type.block_size != 0) {
      fail<FormatError>(where_, "{}: got rows of {} elements, expected a multiple of {} for {}.", name, sizes[0],
                        type.block_size, type.name);
    }
    std::optional<uint64_t> bytes = checked_mul(sizes[0] / type.block_size, type.block_bytes);
    for (size_t i = 1; i < sizes.size() && bytes; ++i) bytes = checked_mul(*bytes, sizes[i]);
    const bool fits =
        std::all_of(sizes.begin(), sizes.end(), [](uint64_t size) { return size >= 1 && size <= INT64_MAX; });
    if (!bytes || !fits) {
      fail<FormatError>(where_, "{}: got sizes {}, expected at least 1 each and a product that does not overflow.",
                        name, fmt::join(sizes, " x "));
    }
    return *bytes;
  }

  void place_tensors() {
    const auto alignment = static_cast<uint64_t>(
        file_.integer("general.alignment", 1, kMaxAlignment).value_or(static_cast<int64_t>(kDefaultAlignment)));
    if (!std::has_single_bit(alignment)) {
      file_.malformed("general.alignment", std::to_string(alignment), "a power of two");
    }
    if (placed_.empty()) return;
    const uint64_t data_begin = (pos_ + alignment - 1) / alignment * alignment;
    for (Placed& placed : placed_) {
      const std::string name = fmt::format("tensor {}", quote(placed.tensor.name));
      if (placed.begin % alignment != 0) {
        fail<FormatError>(where_, "{}: got offset {}, expected a multiple of {}.", name, placed.begin, alignment);
      }
      const auto begin = checked_add(data_begin, placed.begin);
      const auto end = begin ? checked_add(*begin, placed.bytes) : std::nullopt;
      if (!end || *end > bytes_.size()) {
        fail<FormatError>(where_,
                          "{}: got {} bytes at offset {} of the data, expected them to end within the file's {}. "
                          "Was the file truncated?",
                          name, placed.bytes, placed.begin, bytes_.size());
      }
      placed.tensor.bytes = bytes_.subspan(*begin, placed.bytes);
    }
    check_overlap();
    for (Placed& placed : placed_) file_.tensors_.push_back(std::move(placed.tensor));
  }

  void check_overlap() const {
    std::vector<const Placed*> sorted;
    for (const Placed& placed : placed_) sorted.push_back(&placed);
    std::sort(sorted.begin(), sorted.end(), [](const Placed* a, const Placed* b) { return a->begin < b->begin; });
    for (size_t i = 1; i < sorted.size(); ++i) {
      const uint64_t end = sorted[i - 1]->begin + sorted[i - 1]->bytes;
      if (sorted[i]->begin < end) {
        fail<FormatError>(where_, "tensor {}: got offset {}, expected at least {} (the end of {}). They overlap.",
                          quote(sorted[i]->tensor.name), sorted[i]->begin, end, quote(sorted[i - 1]->tensor.name));
      }
    }
  }

  GgufFile& file_;
  std::string where_;
  std::span<const std::byte> bytes_;
  size_t pos_ = 0;
  std::set<std::string> names_;
  std::vector<Placed> placed_;
};

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) { GgufParser(*this).parse(); }

}  // namespace scalebits
