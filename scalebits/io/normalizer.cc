// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/normalizer.h"

#include <algorithm>
#include <utility>

namespace scalebits {

Replace::Replace(const Component& component)
    : pattern_(read_pattern(component.child("pattern"))),
      content_(component.text("content")),
      where_(component.file()) {}

std::string Replace::apply(std::string_view text, size_t max_bytes) const {
  const std::vector<Regex::Span> matches = pattern_.find_all(text);
  // At most 2^31 matches of at most 2^30 bytes (the cap on the file): no overflow.
  if (text.size() + matches.size() * content_.size() > max_bytes) {
    fail<FormatError>(where_, "Replace: got {} matches of {} bytes each, expected a result of at most {} bytes.",
                      matches.size(), content_.size(), max_bytes);
  }
  std::string result;
  result.reserve(text.size() + matches.size() * content_.size());
  size_t done = 0;
  for (const Regex::Span& match : matches) {
    result.append(text.substr(done, match.begin - done)).append(content_);
    done = match.end;
  }
  return result.append(text.substr(done));
}

Normalizer::Normalizer(const Component& component) { read(component, 0); }

void Normalizer::read(const Component& component, int depth) {
  constexpr int kMaxDepth = 4;
  if (component.is_null()) return;
  const std::string& type = component.type();
  if (type == "Sequence" && depth < kMaxDepth) {
    for (const Component& step : component.child("normalizers").items()) read(step, depth + 1);
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{component.text("prepend")});
  } else if (type == "Replace") {
    steps_.emplace_back(Replace(component));
  } else if (type == "NFC") {
    steps_.emplace_back(NormalForm::kNfc);
  } else if (type == "NFD") {
    steps_.emplace_back(NormalForm::kNfd);
  } else if (type == "NFKC") {
    steps_.emplace_back(NormalForm::kNfkc);
  } else if (type == "NFKD") {
    steps_.emplace_back(NormalForm::kNfkd);
  } else if (type == "Lowercase") {
    steps_.emplace_back(Lowercase{});
  } else if (type == "Strip") {
    steps_.emplace_back(Strip{component.flag("strip_left"), component.flag("strip_right")});
  } else if (type == "StripAccents") {
    steps_.emplace_back(StripAccents{});
  } else {
    component.unsupported(type, "Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip or StripAccents");
  }
}

std::string Normalizer::apply(std::string_view text) const {
  // Real normalizers at most triple a text; a chain of replacements could double it a thousand times.
  const size_t max_bytes = std::min(kMaxTextBytes, 64 * text.size() + (size_t{1} << 16));
  std::string result(text);
  for (const Step& step : steps_) result = apply(step, std::move(result), max_bytes);
  return result;
}

std::string Normalizer::apply(const Step& step, std::string text, size_t max_bytes) {
  if (const auto* prepend = std::get_if<Prepend>(&step)) {
    return text.empty() ? text : text.insert(0, prepend->text);
  }
  if (const auto* replace = std::get_if<Replace>(&step)) return replace->apply(text, max_bytes);
  if (const auto* map = std::get_if<CharactersMap>(&step)) return map->apply(text, max_bytes);
  if (const auto* form = std::get_if<NormalForm>(&step)) return normalize(text, *form);
  if (const auto* strip = std::get_if<Strip>(&step)) {
    const size_t begin = strip->left ? white_space_end(text, 0) : 0;
    const size_t end = strip->right ? std::max(begin, white_space_begin(text, text.size())) : text.size();
    return text.substr(begin, end - begin);
  }
  const bool accents = std::holds_alternative<StripAccents>(step);
  std::string result;
  result.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_character(text, pos);
    if (!accents) {
      append_lower_case(result, c);
    } else if (!is_mark(c)) {
      append_utf8(result, c);
    }
  }
  return result;
}

}  // namespace scalebits
