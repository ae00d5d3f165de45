// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/token_decoder.h"

#include "scalebits/io/pre_tokenizer.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
/// Tokens have at most 2^16 bytes; replacements must not turn one into a text.
constexpr size_t kMaxTokenBytes = 1 << 20;
constexpr std::string_view kKnown = "Sequence, Replace, ByteFallback, Fuse, Strip, ByteLevel or Metaspace";

char32_t read_character(const Component& component) {
  const std::string& text = component.text();
  if (text.empty() || utf8_length(text[0]) != text.size()) component.malformed("one character");
  size_t pos = 0;
  return next_character(text, pos);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The byte that `<0xHH>` stands for, or -1.
int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace

TokenDecoder::TokenDecoder(const Component& component) {
  if (component.is_null()) return;
  const std::string& type = component.type();
  if (type == "ByteLevel") {
    kind_ = Kind::kByteLevel;
  } else if (type == "Metaspace") {
    kind_ = Kind::kMetaspace;
    metaspace_ = read_character(component.child("replacement"));
    const Component scheme = component.child("prepend_scheme");
    drop_first_space_ = component.flag("add_prefix_space", true) && (scheme.is_null() || scheme.text() != "never");
  } else if (type == "Sequence") {
    const Component steps = component.child("decoders");
    const auto items = steps.items();
    if (items.size() == 1) {
      *this = TokenDecoder(items[0]);
    } else {
      read_sequence(steps);
    }
  } else {
    const Json alone = Json::array({component.json()});
    read_sequence(Component(alone, component.file(), component.path()));
  }
}

void TokenDecoder::read_sequence(const Component& steps) {
  kind_ = Kind::kSequence;
  for (const Component& step : steps.items()) {
    const std::string& type = step.type();
    const auto expect = [&](bool in_order) {
      if (!in_order) step.unsupported(type, "the order Replace, ByteFallback, Fuse, Strip");
    };
    if (type == "Replace") {
      expect(!byte_fallback_ && !fuse_ && !strip_);
      replaces_.emplace_back(step);
    } else if (type == "ByteFallback") {
      expect(!byte_fallback_ && !fuse_ && !strip_);
      byte_fallback_ = true;
    } else if (type == "Fuse") {
      expect(!fuse_ && !strip_);
      fuse_ = true;
    } else if (type == "Strip") {
      expect(!strip_);
      constexpr int64_t kMany = 1 << 20;
      if (step.child("stop").integer(0, kMany) != 0) step.child("stop").unsupported("more than 0", "0");
      strip_ = Strip{read_character(step.child("content")), step.child("start").integer(0, kMany)};
    } else {
      step.unsupported(type, kKnown);
    }
  }
}

void TokenDecoder::push(State& state, std::string_view token, std::string& out) const {
  switch (kind_) {
    case Kind::kSpaced:  // the reference without a decoder
      if (state.tokens_ > 0) out += ' ';
      out += token;
      break;
    case Kind::kByteLevel:
      push_bytes(state, token, out);
      break;
    case Kind::kMetaspace:
      push_metaspace(state, token, out);
      break;
    case Kind::kSequence: {
      std::string replaced;
      for (const Replace& replace : replaces_) token = replaced = replace.apply(token, kMaxTokenBytes);
      const int byte = byte_fallback_ ? fallback_byte(token) : -1;
      if (byte >= 0) {
        state.byte_run_ += static_cast<char>(byte);
      } else {
        end_byte_run(state, out);
        emit(state, token, out);
      }
    }
  }
  ++state.tokens_;
}

void TokenDecoder::finish(State& state, std::string& out) const {
  state.utf8_.finish(out);
  end_byte_run(state, out);
}

/// A token with a character that stands for no byte (an added token, say) is taken as its own UTF-8.
void TokenDecoder::push_bytes(State& state, std::string_view token, std::string& out) const {
  std::string bytes;
  for (size_t pos = 0; pos < token.size();) {
    const int byte = byte_level_byte(next_character(token, pos));
    if (byte < 0) {
      bytes = token;
      break;
    }
    bytes += static_cast<char>(byte);
  }
  state.utf8_.push(bytes, out);
}

void TokenDecoder::push_metaspace(const State& state, std::string_view token, std::string& out) const {
  for (size_t pos = 0; pos < token.size();) {
    const size_t begin = pos;
    if (next_character(token, pos) != metaspace_) {
      out += token.substr(begin, pos - begin);
    } else if (state.tokens_ > 0 || !drop_first_space_) {
      out += ' ';
    }
  }
}

/// The reference's rule: a run of byte tokens is text as a whole, or each of its bytes becomes U+FFFD.
void TokenDecoder::end_byte_run(State& state, std::string& out) const {
  if (state.byte_run_.empty()) return;
  const std::string run = std::move(state.byte_run_);
  state.byte_run_.clear();
  if (find_invalid_utf8(run) == std::string_view::npos) {
    emit(state, run, out);
  } else {
    for (size_t i = 0; i < run.size(); ++i) emit(state, kReplacement, out);
  }
}

void TokenDecoder::emit(State& state, std::string_view piece, std::string& out) const {
  if (strip_) {
    int64_t stripped = fuse_ ? state.stripped_ : 0;
    size_t done = 0;
    while (stripped >= 0 && stripped < strip_->count && done < piece.size()) {
      size_t next = done;
      if (next_character(piece, next) == strip_->character) {
        ++stripped;
        done = next;
      } else {
        stripped = -1;
      }
    }
    state.stripped_ = stripped;
    piece.remove_prefix(done);
  }
  out += piece;
}

}  // namespace scalebits
