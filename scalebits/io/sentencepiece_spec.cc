// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/sentencepiece_spec.h"

#include <cstring>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

// Field numbers of sentencepiece_model.proto.
constexpr uint64_t kPieces = 1, kNormalizerSpec = 3;  // of ModelProto
constexpr uint64_t kType = 3, kUserDefined = 4;       // of a piece; the type's value
constexpr uint64_t kCharsMap = 2, kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4, kEscapeWhitespaces = 5;

/// One message of a protocol buffer, field by field (https://protobuf.dev/programming-guides/encoding).
class Message {
 public:
  struct Field {
    uint64_t number = 0;
    uint64_t value = 0;      ///< of a varint
    std::string_view bytes;  ///< of a string or message
  };

  Message(std::string_view bytes, const std::string& where) : rest_(bytes), where_(where) {}

  bool next(Field& field) {
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
        fail<FormatError>(where_,
                          "protocol buffer: got wire type {}, expected 0, 1, 2 or 5. Is this a SentencePiece "
                          "model?",
                          tag & 7U);
    }
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
    fail<FormatError>(where_, "protocol buffer: got a number of more than 64 bits.");
  }

  std::string_view take(uint64_t count) {
    if (count > rest_.size()) {
      fail<FormatError>(where_, "protocol buffer: got {} bytes to the end, expected {}. Was the file truncated?",
                        rest_.size(), count);
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  std::string_view rest_;
  const std::string& where_;
};

/// The map is the length of a trie (4 bytes), a Darts double array, and the strings that its leaves point to. A walk
/// goes from unit i to the unit (i ^ offset) ^ byte, for any byte; a leaf is found at i ^ offset.
void check_characters_map(std::string_view map, const std::string& where) {
  const auto malformed = [&](std::string_view what) {
    fail<FormatError>(where, "precompiled_charsmap: got {} bytes with {}, expected a trie and its strings.", map.size(),
                      what);
  };
  if (map.empty()) return;
  uint32_t trie_bytes = 0;
  if (map.size() <= sizeof trie_bytes) malformed("nothing in them");
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  const std::string_view rest = map.substr(sizeof trie_bytes);
  if (trie_bytes >= rest.size() || trie_bytes % sizeof(uint32_t) != 0 || trie_bytes == 0) malformed("a wrong length");
  const std::string_view strings = rest.substr(trie_bytes);
  if (strings.back() != '\0') malformed("a string without an end");
  std::vector<uint32_t> units(trie_bytes / sizeof(uint32_t));
  std::memcpy(units.data(), rest.data(), trie_bytes);
  for (size_t i = 0; i < units.size(); ++i) {
    const uint32_t unit = units[i];
    if ((unit & 0x80000000U) != 0) continue;  // a leaf: its value is checked where it is pointed to
    const size_t offset = size_t{unit >> 10} << ((unit & (1U << 9)) >> 6);
    const size_t child = i ^ offset;
    if ((child | 0xffU) >= units.size()) malformed("a step outside of the trie");
    const bool has_leaf = (unit & (1U << 8)) != 0;
    if (has_leaf && (units[child] & 0x7fffffffU) >= strings.size()) malformed("a leaf outside of the strings");
  }
}

bool is_user_defined(Message piece) {
  uint64_t type = 0;
  for (Message::Field field; piece.next(field);) {
    if (field.number == kType) type = field.value;
  }
  return type == kUserDefined;
}

void read_normalizer(Message normalizer, const std::string& where, SentencePieceSpec& spec) {
  for (Message::Field option; normalizer.next(option);) {
    if (option.number == kCharsMap) check_characters_map(option.bytes, where);
    if (option.number == kAddDummyPrefix) spec.add_dummy_prefix = option.value != 0;
    if (option.number == kRemoveExtraWhitespaces) spec.remove_extra_whitespaces = option.value != 0;
    if (option.number == kEscapeWhitespaces) spec.escape_whitespaces = option.value != 0;
  }
}

}  // namespace

SentencePieceSpec read_sentencepiece_spec(std::string_view model, const std::string& where) {
  SentencePieceSpec spec;
  int32_t id = 0;
  Message message(model, where);
  for (Message::Field field; message.next(field);) {
    if (field.number == kPieces) {
      if (is_user_defined(Message(field.bytes, where))) spec.user_defined.push_back(id);
      ++id;
    } else if (field.number == kNormalizerSpec) {
      // Several are merged, the last value wins, as the format prescribes.
      read_normalizer(Message(field.bytes, where), where, spec);
    }
  }
  return spec;
}

}  // namespace scalebits
