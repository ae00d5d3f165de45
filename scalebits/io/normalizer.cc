// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/normalizer.h"

#include <algorithm>
#include <type_traits>

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
  } else {
    component.unsupported(type, "Sequence, Prepend, Replace, NFC, NFD, NFKC or NFKD");
  }
}

std::string Normalizer::apply(std::string_view text) const {
  // Real normalizers at most triple a text; a chain of replacements could double it a thousand times.
  const size_t max_bytes = std::min(kMaxTextBytes, 64 * text.size() + (size_t{1} << 16));
  std::string result(text);
  for (const auto& step : steps_) {
    std::visit(
        [&](const auto& s) {
          using Step = std::decay_t<decltype(s)>;
          if constexpr (std::is_same_v<Step, Prepend>) {
            if (!result.empty()) result.insert(0, s.text);
          } else if constexpr (std::is_same_v<Step, Replace>) {
            result = s.apply(result, max_bytes);
          } else {
            result = normalize(result, s);
          }
        },
        step);
  }
  return result;
}

}  // namespace scalebits
