// SPDX-License-Identifier: Apache-2.0
/// The wire format of protocol buffers, read field by field (https://protobuf.dev/programming-guides/encoding).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace scalebits {

/// One message; views into its bytes.
class ProtobufMessage {
 public:
  struct Field {
    uint64_t number = 0;
    uint64_t value = 0;      ///< of a varint
    std::string_view bytes;  ///< of all others: a string, a message, 4 or 8 bytes of a number
  };

  ProtobufMessage(std::string_view bytes, const std::string& where) : rest_(bytes), where_(where) {}

  /// @return false at the end. @throws FormatError
  bool next(Field& field);
  /// A float (wire type 5) of `field`. @throws FormatError: another number of bytes
  [[nodiscard]] float to_float(const Field& field) const;

 private:
  uint64_t varint();
  std::string_view take(uint64_t count);

  std::string_view rest_;
  const std::string& where_;
};

}  // namespace scalebits
