// SPDX-License-Identifier: Apache-2.0
/// XXH3-64 checksums, written as 16 lower-case hex digits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace scalebits {

uint64_t hash_bytes(std::span<const std::byte> bytes);
std::string hash_hex(std::span<const std::byte> bytes);
std::string hash_hex(std::string_view text);

/// The same checksum over pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  [[nodiscard]] std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace scalebits
