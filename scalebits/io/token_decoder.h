// SPDX-License-Identifier: Apache-2.0
/// The decoder of tokenizer.json, token by token: what decode() does at once, StreamDecoder does as tokens come.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/io/component.h"
#include "scalebits/io/normalizer.h"
#include "scalebits/io/unicode.h"

namespace scalebits {

/// Null, ByteLevel, Metaspace, or a Sequence `Replace* ByteFallback? Fuse? Strip?`.
class TokenDecoder {
 public:
  /// Where one run over the tokens stands.
  class State {
    friend class TokenDecoder;
    Utf8Stream utf8_;       // ByteLevel: bytes of an unfinished character
    std::string byte_run_;  // ByteFallback: values of the <0xHH> tokens met last
    int64_t tokens_ = 0;
    int64_t stripped_ = 0;  // of the fused text; -1 once something else than the stripped character came
  };

  TokenDecoder() = default;
  /// @throws FormatError, Unsupported (names the decoder)
  explicit TokenDecoder(const Component& component);

  /// Appends the text that no later token can change.
  void push(State& state, std::string_view token, std::string& out) const;
  /// Appends what is left at the end.
  void finish(State& state, std::string& out) const;

 private:
  enum class Kind { kSpaced, kByteLevel, kMetaspace, kSequence };
  struct Strip {
    char32_t character = 0;
    int64_t count = 0;
  };

  void read_sequence(const Component& steps);
  void push_bytes(State& state, std::string_view token, std::string& out) const;
  void push_metaspace(const State& state, std::string_view token, std::string& out) const;
  void end_byte_run(State& state, std::string& out) const;
  void emit(State& state, std::string_view piece, std::string& out) const;

  Kind kind_ = Kind::kSpaced;
  char32_t metaspace_ = 0;
  bool drop_first_space_ = false;  // Metaspace
  std::vector<Replace> replaces_;
  bool byte_fallback_ = false, fuse_ = false;
  std::optional<Strip> strip_;
};

}  // namespace scalebits
