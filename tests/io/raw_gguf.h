// SPDX-License-Identifier: Apache-2.0
/// GGUF files put together by hand.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits::test {

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string gguf_text(std::string_view text) { return raw(uint64_t{text.size()}).append(text); }

/// Appends keys and tensors, then gives the file.
class RawGguf {
 public:
  /// @param type and @param value as they are in the file
  RawGguf& key(std::string_view name, uint32_t type, std::string_view value) {
    values_ += gguf_text(name) + raw(type) + std::string(value);
    ++n_values_;
    return *this;
  }
  RawGguf& text(std::string_view name, std::string_view value) { return key(name, 8, gguf_text(value)); }
  RawGguf& number(std::string_view name, uint32_t value) { return key(name, 4, raw(value)); }
  RawGguf& flag(std::string_view name, bool value) { return key(name, 7, raw(uint8_t{value})); }
  RawGguf& texts(std::string_view name, const std::vector<std::string>& values) {
    std::string bytes;
    for (const std::string& value : values) bytes += gguf_text(value);
    return array(name, 8, values.size(), bytes);
  }
  template <class T>
  RawGguf& numbers(std::string_view name, uint32_t type, const std::vector<T>& values) {
    std::string bytes;
    for (const T value : values) bytes += raw(value);
    return array(name, type, values.size(), bytes);
  }
  RawGguf& array(std::string_view name, uint32_t type, uint64_t count, std::string_view bytes) {
    return key(name, 9, raw(type) + raw(count) + std::string(bytes));
  }
  /// @param sizes fastest first, as in the file
  RawGguf& tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
    tensors_ += gguf_text(name) + raw(static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) tensors_ += raw(size);
    tensors_ += raw(type) + raw(offset);
    ++n_tensors_;
    return *this;
  }
  /// @param data what follows the header, which is padded to `alignment` where there are tensors
  [[nodiscard]] std::string file(std::string_view data = "", size_t alignment = 32, uint32_t version = 3) const {
    std::string result = "GGUF" + raw(version) + raw(n_tensors_) + raw(n_values_) + values_ + tensors_;
    if (n_tensors_ > 0) result.resize((result.size() + alignment - 1) / alignment * alignment);
    return result.append(data);
  }

 private:
  std::string values_, tensors_;
  uint64_t n_values_ = 0, n_tensors_ = 0;
};

}  // namespace scalebits::test
