// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/protobuf.h"

#include <bit>

#include "scalebits/base/errors.h"

namespace scalebits {

bool ProtobufMessage::next(Field& field) {
  if (rest_.empty()) return false;
  const uint64_t tag = varint();
  field = Field{tag >> 3, 0, {}};
  switch (tag & 7U) {
    case 0:
      field.value = varint();
      return true;
    case 1:
      field.bytes = take(8);
      return true;
    case 2:
      field.bytes = take(varint());
      return true;
    case 5:
      field.bytes = take(4);
      return true;
    default:
      fail<FormatError>(
          where_, "protocol buffer: got wire type {}, expected 0, 1, 2 or 5. Is this the file it should be?", tag & 7U);
  }
}

float ProtobufMessage::to_float(const Field& field) const {
  if (field.bytes.size() != sizeof(uint32_t)) {
    fail<FormatError>(where_, "protocol buffer: got {} bytes in field {}, expected 4 of a float.", field.bytes.size(),
                      field.number);
  }
  uint32_t bits = 0;
  for (size_t i = sizeof bits; i > 0; --i) bits = bits << 8 | static_cast<unsigned char>(field.bytes[i - 1]);
  return std::bit_cast<float>(bits);
}

uint64_t ProtobufMessage::varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(take(1)[0]);
    value |= uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return value;
  }
  fail<FormatError>(where_, "protocol buffer: got a number of more than 64 bits.");
}

std::string_view ProtobufMessage::take(uint64_t count) {
  if (count > rest_.size()) {
    fail<FormatError>(where_, "protocol buffer: got {} bytes to the end, expected {}. Was the file truncated?",
                      rest_.size(), count);
  }
  const std::string_view taken = rest_.substr(0, count);
  rest_.remove_prefix(count);
  return taken;
}

}  // namespace scalebits
