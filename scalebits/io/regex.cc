// SPDX-License-Identifier: Apache-2.0
#define PCRE2_CODE_UNIT_WIDTH 8
#include "scalebits/io/regex.h"

#include <pcre2.h>

#include <array>

#include "scalebits/base/errors.h"
#include "scalebits/io/text.h"
#include "scalebits/io/unicode.h"

namespace scalebits {
namespace {

/// Real pre-tokenizer patterns have a few hundred bytes; the cap bounds the time to compile a hostile one.
constexpr size_t kMaxPatternBytes = 1 << 16;
/// Steps of backtracking per match, beyond those that walk back over a run of characters once or a few times.
constexpr size_t kMatchSteps = 1'000'000;
constexpr uint32_t kMatchHeapKib = 256 << 10;

template <class T, void (*kFree)(T*)>
struct Deleter {
  void operator()(T* pointer) const { kFree(pointer); }
};
template <class T, void (*kFree)(T*)>
using Owned = std::unique_ptr<T, Deleter<T, kFree>>;
using OwnedMatch = Owned<pcre2_match_data, pcre2_match_data_free>;
using OwnedMatchContext = Owned<pcre2_match_context, pcre2_match_context_free>;
using OwnedCompileContext = Owned<pcre2_compile_context, pcre2_compile_context_free>;

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Regex::Code {
  Owned<pcre2_code, pcre2_code_free> code;
};

Regex::Regex(std::string_view pattern, bool literal, std::string where) : where_(std::move(where)) {
  if (pattern.empty()) fail<Unsupported>(where_, "pattern: got an empty one, expected one that matches something.");
  if (pattern.size() > kMaxPatternBytes) {
    fail<FormatError>(where_, "pattern: got {} bytes, expected at most {}.", pattern.size(), kMaxPatternBytes);
  }
  const std::string translated = literal ? std::string(pattern) : pcre2_pattern(pattern, where_);
  const OwnedCompileContext context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  uint32_t options = PCRE2_UTF;
  // Oniguruma's ^ and $ always look at lines, and its dot stops at a newline.
  options |= literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE | PCRE2_NEVER_BACKSLASH_C;
  int error = 0;
  size_t offset = 0;
  auto code = std::make_shared<Code>();
  code->code.reset(pcre2_compile(units(translated), translated.size(), options, &error, &offset, context.get()));
  if (!code->code) {
    fail<FormatError>(where_, "pattern: got {}, expected a regular expression: {}.", quote(pattern, 200),
                      message_of(error));
  }
  // Without the right to make code executable this fails, and matching is interpreted: slower, the same result.
  pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE);
  code_ = std::move(code);
}

std::vector<Regex::Span> Regex::find_all(std::string_view text) const {
  const OwnedMatch match(pcre2_match_data_create(1, nullptr));
  const OwnedMatchContext context(pcre2_match_context_create(nullptr));
  if (!match || !context) throw std::bad_alloc();
  const size_t steps = std::min<size_t>(kMatchSteps + 4 * text.size(), UINT32_MAX);
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(steps));
  pcre2_set_heap_limit(context.get(), kMatchHeapKib);
  const pcre2_code* code = code_->code.get();
  const size_t* found = pcre2_get_ovector_pointer(match.get());
  std::vector<Span> spans;
  size_t start = 0;
  while (start <= text.size()) {
    const auto try_match = [&](uint32_t options) {
      return pcre2_match(code, units(text), text.size(), start, options | PCRE2_NO_UTF_CHECK, match.get(),
                         context.get());
    };
    int result = try_match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = try_match(PCRE2_NO_JIT);  // that one uses the heap
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      fail<FormatError>(where_, "pattern: gave up on a text of {} bytes at byte {}: {}.", text.size(), start,
                        message_of(result));
    }
    const Span span{found[0], found[1]};
    const bool empty = span.begin == span.end;
    if (!empty || spans.empty() || spans.back().end != span.end) spans.push_back(span);
    // Behind an empty match the search goes on one character later, else it would find the same for ever.
    start = span.end;
    if (empty) start += start < text.size() ? utf8_length(text[start]) : 1;
  }
  return spans;
}

Regex read_pattern(const Component& pattern) {
  const std::string where = fmt::format("{}: {}", pattern.file(), pattern.path());
  const Component literal = pattern.child("String");
  if (!literal.is_null()) return {literal.text(), true, where};
  const Component regex = pattern.child("Regex");
  if (regex.is_null()) pattern.malformed("an object with the key String or Regex");
  return {regex.text(), false, where};
}

}  // namespace scalebits
