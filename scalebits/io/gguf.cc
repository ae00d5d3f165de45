// SPDX-License-Identifier: Apache-2.0
/// What is asked of an opened file; gguf_parser.cc opens it.
#include "scalebits/io/gguf.h"

#include <array>
#include <cstring>
#include <fstream>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

template <class T>
T read_as(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

/// The integer at `bytes`, or nothing for another type or above the range of int64_t.
std::optional<int64_t> read_integer(GgufType type, const std::byte* bytes) {
  switch (type) {
    case GgufType::kU8:
      return read_as<uint8_t>(bytes);
    case GgufType::kI8:
      return read_as<int8_t>(bytes);
    case GgufType::kU16:
      return read_as<uint16_t>(bytes);
    case GgufType::kI16:
      return read_as<int16_t>(bytes);
    case GgufType::kU32:
      return read_as<uint32_t>(bytes);
    case GgufType::kI32:
      return read_as<int32_t>(bytes);
    case GgufType::kI64:
      return read_as<int64_t>(bytes);
    case GgufType::kU64: {
      const auto value = read_as<uint64_t>(bytes);
      if (value > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

/// A string as it lies in the file, already checked: length (8 bytes), characters.
std::string_view read_text(const std::byte* bytes) {
  return {reinterpret_cast<const char*>(bytes) + sizeof(uint64_t), read_as<uint64_t>(bytes)};
}

}  // namespace

void GgufFile::malformed(std::string_view key, std::string_view got, std::string_view expected) const {
  fail<FormatError>(where(), "{}: got {}, expected {}.", key, got, expected);
}

void GgufFile::wrong_kind(std::string_view key, const Value& value, std::string_view expected) const {
  const std::string_view type = gguf_type_name(value.type);
  malformed(key, value.is_array ? fmt::format("an array of {} {}", value.count, type) : fmt::format("one {}", type),
            expected);
}

const GgufFile::Value* GgufFile::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufFile::Value* GgufFile::find(std::string_view key, GgufType type, bool is_array) const {
  const Value* value = find(key);
  if (value != nullptr && (value->type != type || value->is_array != is_array)) {
    wrong_kind(key, *value, fmt::format("{} {}", is_array ? "an array of" : "one", gguf_type_name(type)));
  }
  return value;
}

std::optional<std::string_view> GgufFile::text(std::string_view key) const {
  const Value* value = find(key, GgufType::kString, false);
  if (value == nullptr) return std::nullopt;
  return read_text(value->bytes.data());
}

std::optional<bool> GgufFile::flag(std::string_view key) const {
  const Value* value = find(key, GgufType::kBool, false);
  if (value == nullptr) return std::nullopt;
  return value->bytes[0] != std::byte{0};
}

std::optional<int64_t> GgufFile::integer(std::string_view key, int64_t lowest, int64_t highest) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::string expected = fmt::format("an integer in [{}, {}]", lowest, highest);
  if (value->is_array) wrong_kind(key, *value, expected);
  const auto number = read_integer(value->type, value->bytes.data());
  if (!number) wrong_kind(key, *value, expected);
  if (*number < lowest || *number > highest) malformed(key, std::to_string(*number), expected);
  return number;
}

std::optional<std::vector<std::string_view>> GgufFile::texts(std::string_view key) const {
  const Value* value = find(key, GgufType::kString, true);
  if (value == nullptr) return std::nullopt;
  std::vector<std::string_view> result;
  result.reserve(value->count);
  const std::byte* at = value->bytes.data();
  for (uint64_t i = 0; i < value->count; ++i) {
    result.push_back(read_text(at));
    at += sizeof(uint64_t) + result.back().size();
  }
  return result;
}

std::optional<std::vector<float>> GgufFile::floats(std::string_view key) const {
  const Value* value = find(key, GgufType::kF32, true);
  if (value == nullptr) return std::nullopt;
  std::vector<float> result(value->count);
  if (!result.empty()) std::memcpy(result.data(), value->bytes.data(), value->bytes.size());
  return result;
}

std::optional<std::vector<int32_t>> GgufFile::integers(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array || (value->type != GgufType::kI32 && value->type != GgufType::kU32)) {
    wrong_kind(key, *value, "an array of i32");
  }
  std::vector<int32_t> result(value->count);
  if (!result.empty()) std::memcpy(result.data(), value->bytes.data(), value->bytes.size());
  return result;
}

bool is_gguf(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  std::array<char, 4> magic{};
  std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
  return std::string_view(magic.data(), magic.size()) == "GGUF";
}

}  // namespace scalebits
