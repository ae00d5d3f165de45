// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits {
namespace {

/// What ByteLevel splits with when use_regex is set (the pattern of GPT-2's own encoder).
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Part {
  size_t begin, end;
  bool matched;
};

/// Matches and what lies between them, in order, covering the text.
std::vector<Part> parts_of(std::string_view text, const std::vector<Regex::Span>& matches, bool invert = false) {
  std::vector<Part> parts;
  parts.reserve(2 * matches.size() + 1);
  size_t done = 0;
  for (const Regex::Span& match : matches) {
    if (match.begin != done) parts.push_back({done, match.begin, invert});
    parts.push_back({match.begin, match.end, !invert});
    done = match.end;
  }
  if (done != text.size()) parts.push_back({done, text.size(), invert});
  return parts;
}

/// Joins parts as the behavior says. The reference's rule: a match joins its neighbour only if the part met just before
/// was not itself a match, so that of two matches in a row one stands alone.
std::vector<Part> joined(std::vector<Part> parts, SplitBehavior behavior) {
  const bool backwards = behavior == SplitBehavior::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Part> result;
  bool previous = false;
  for (const Part& part : parts) {
    const bool joins = behavior == SplitBehavior::kContiguous ? part.matched == previous : part.matched && !previous;
    if (joins && !result.empty()) {
      (backwards ? result.back().begin : result.back().end) = backwards ? part.begin : part.end;
    } else {
      result.push_back(part);
    }
    previous = part.matched;
  }
  if (backwards) std::reverse(result.begin(), result.end());
  return result;
}

void append_parts(std::string_view text, std::vector<Part> parts, SplitBehavior behavior,
                  std::vector<std::string_view>& out) {
  const bool removed = behavior == SplitBehavior::kRemoved;
  if (behavior != SplitBehavior::kIsolated && !removed) parts = joined(std::move(parts), behavior);
  for (const Part& part : parts) {
    if (part.begin != part.end && !(removed && part.matched))
      out.push_back(text.substr(part.begin, part.end - part.begin));
  }
}

/// Matches and what lies between them, each a piece: what nearly all pre-tokenizers ask for.
void append_isolated(std::string_view text, const std::vector<Regex::Span>& matches,
                     std::vector<std::string_view>& out) {
  size_t done = 0;
  const auto put = [&](size_t begin, size_t end) {
    if (begin != end) out.push_back(text.substr(begin, end - begin));
  };
  for (const Regex::Span& match : matches) {
    put(done, match.begin);
    put(match.begin, match.end);
    done = match.end;
  }
  put(done, text.size());
}

SplitBehavior read_behavior(const Component& component) {
  constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kNames = {{
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"Contiguous", SplitBehavior::kContiguous},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
  }};
  for (const auto& [name, behavior] : kNames) {
    if (component.text() == name) return behavior;
  }
  component.unsupported(component.text(), "Isolated, Removed, Contiguous, MergedWithPrevious or MergedWithNext");
}

}  // namespace

PreTokenizer::PreTokenizer(const Component& component) { read(component, 0); }

void PreTokenizer::read(const Component& component, int depth) {
  constexpr int kMaxDepth = 4;
  if (component.is_null()) return;
  const std::string& type = component.type();
  if (byte_level_) component.unsupported(type, "ByteLevel to be the last step");
  if (type == "Sequence" && depth < kMaxDepth) {
    for (const Component& step : component.child("pretokenizers").items()) read(step, depth + 1);
  } else if (type == "Split") {
    steps_.emplace_back(Split{read_pattern(component.child("pattern")), read_behavior(component.child("behavior")),
                              component.flag("invert", false)});
  } else if (type == "Digits") {
    steps_.emplace_back(Digits{component.flag("individual_digits", false)});
  } else if (type == "ByteLevel") {
    ByteLevel step{component.flag("add_prefix_space"), std::nullopt};
    if (component.flag("use_regex", true)) step.pattern.emplace(kGpt2Pattern, false, "ByteLevel");
    steps_.emplace_back(std::move(step));
    byte_level_ = true;
  } else if (type == "Metaspace") {
    read_metaspace(component);
  } else {
    component.unsupported(type, "Sequence, Split, Digits, ByteLevel or Metaspace");
  }
}

void PreTokenizer::read_metaspace(const Component& component) {
  Metaspace step{component.text("replacement"), Prepend::kAlways, component.flag("split", true)};
  if (step.replacement.empty() || utf8_length(step.replacement[0]) != step.replacement.size()) {
    component.child("replacement").malformed("one character");
  }
  const Component scheme = component.child("prepend_scheme");
  if (!scheme.is_null()) {
    const std::string& name = scheme.text();
    if (name != "always" && name != "first" && name != "never") scheme.unsupported(name, "always, first or never");
    step.prepend = name == "always" ? Prepend::kAlways : name == "first" ? Prepend::kFirst : Prepend::kNever;
  }
  // The older spelling of "never".
  if (!component.flag("add_prefix_space", true)) step.prepend = Prepend::kNever;
  if (step.prepend == Prepend::kFirst && !steps_.empty()) {
    scheme.unsupported("first", "always or never where Metaspace is not the first step");
  }
  steps_.emplace_back(std::move(step));
}

PreTokenizer::Pieces PreTokenizer::split(std::string_view text, bool at_start) const {
  Pieces pieces;
  if (text.empty()) return pieces;
  pieces.views.push_back(text);
  for (const auto& step : steps_) {
    if (const auto* metaspace = std::get_if<Metaspace>(&step); metaspace && metaspace->prepend == Prepend::kFirst) {
      Metaspace here = *metaspace;
      here.prepend = at_start ? Prepend::kAlways : Prepend::kNever;
      here.apply(pieces);
    } else {
      std::visit([&](const auto& s) { s.apply(pieces); }, step);
    }
  }
  return pieces;
}

void PreTokenizer::Split::apply(Pieces& pieces) const {
  std::vector<std::string_view> out;
  for (const std::string_view piece : pieces.views) {
    const auto matches = pattern.find_all(piece);
    if (behavior == SplitBehavior::kIsolated) {
      append_isolated(piece, matches, out);
    } else {
      append_parts(piece, parts_of(piece, matches, invert), behavior, out);
    }
  }
  pieces.views = std::move(out);
}

void PreTokenizer::Digits::apply(Pieces& pieces) const {
  std::vector<std::string_view> out;
  std::vector<Regex::Span> digits;
  for (const std::string_view piece : pieces.views) {
    digits.clear();
    for (size_t pos = 0; pos < piece.size();) {
      const size_t begin = pos;
      if (is_number(next_character(piece, pos))) digits.push_back({begin, pos});
    }
    append_parts(piece, parts_of(piece, digits), individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous,
                 out);
  }
  pieces.views = std::move(out);
}

void PreTokenizer::ByteLevel::apply(Pieces& pieces) const {
  if (add_prefix_space) {
    for (std::string_view& piece : pieces.views) {
      if (!piece.starts_with(' ')) piece = pieces.changed.emplace_back(" ").append(piece);
    }
  }
  if (!pattern) return;
  std::vector<std::string_view> out;
  for (const std::string_view piece : pieces.views) {
    append_isolated(piece, pattern->find_all(piece), out);
  }
  pieces.views = std::move(out);
}

void PreTokenizer::Metaspace::apply(Pieces& pieces) const {
  std::vector<std::string_view> out;
  for (const std::string_view piece : pieces.views) {
    std::string& text = pieces.changed.emplace_back();
    for (const char c : piece) {
      if (c == ' ') {
        text += replacement;
      } else {
        text += c;
      }
    }
    if (prepend == Prepend::kAlways && !text.starts_with(replacement)) text.insert(0, replacement);
    std::vector<Regex::Span> found;
    for (size_t at = 0; split && (at = text.find(replacement, at)) != std::string::npos; at += replacement.size()) {
      found.push_back({at, at + replacement.size()});
    }
    append_parts(text, parts_of(text, found), SplitBehavior::kMergedWithNext, out);
  }
  pieces.views = std::move(out);
}

namespace {

struct ByteTable {
  std::array<char32_t, 256> character{};
  std::array<int16_t, 0x144> byte{};
};

constexpr ByteTable make_byte_table() {
  ByteTable table;
  for (auto& b : table.byte) b = -1;
  char32_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    const char32_t c = printable ? static_cast<char32_t>(b) : next++;
    table.character[b] = c;
    table.byte[c] = static_cast<int16_t>(b);
  }
  return table;
}

constexpr ByteTable kByteTable = make_byte_table();

}  // namespace

char32_t byte_level_character(unsigned char byte) { return kByteTable.character[byte]; }
int byte_level_byte(char32_t character) { return character < kByteTable.byte.size() ? kByteTable.byte[character] : -1; }

}  // namespace scalebits
