// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/windows.h"

#include <algorithm>

#include "scalebits/base/errors.h"

namespace scalebits {
namespace {

constexpr int64_t kUsualSeqlen = 2048;
/// llama.cpp's protocol predicts n - 1 - n / 2 tokens of a window.
constexpr int64_t kShortestSeqlen = 4;

Sequence joined(std::span<const Sequence> documents, std::optional<TokenId> bos) {
  Sequence all;
  if (bos) all.push_back(*bos);
  for (const Sequence& document : documents) all.insert(all.end(), document.begin(), document.end());
  return all;
}

int64_t wanted(int64_t available, int64_t max_windows) {
  return max_windows > 0 ? std::min(available, max_windows) : available;
}

/// Both protocols that ignore where documents end.
void cut_stream(std::span<const Sequence> documents, std::optional<TokenId> bos, const std::string& where,
                WindowSet& set) {
  const Sequence stream = joined(documents, bos);
  const int64_t seqlen = set.options.seqlen;
  set.text_tokens = static_cast<int64_t>(stream.size());
  if (set.text_tokens < seqlen) {
    fail<FormatError>(where,
                      "text: got {} tokens, expected at least {} (one window). Give more text or a smaller --seqlen.",
                      set.text_tokens, seqlen);
  }
  const bool second_half = set.options.protocol == Protocol::kLlamacpp;
  for (int64_t w = 0; w < wanted(set.text_tokens / seqlen, set.options.max_windows); ++w) {
    const auto begin = stream.begin() + w * seqlen;
    Window window{.ids = Sequence(begin, begin + seqlen), .first_target = second_half ? seqlen / 2 + 1 : 1};
    if (second_half && bos) window.ids[0] = *bos;
    set.windows.push_back(std::move(window));
  }
}

void cut_documents(std::span<const Sequence> documents, std::optional<TokenId> bos, const std::string& where,
                   WindowSet& set) {
  const auto seqlen = set.options.seqlen;
  for (const Sequence& document : documents) {
    const Sequence ids = joined({&document, 1}, bos);
    const auto n = static_cast<int64_t>(ids.size());
    set.text_tokens += n;
    // A window's last target is the next one's first input.
    for (int64_t begin = 0; begin + 1 < n; begin += seqlen) {
      if (set.options.max_windows > 0 && static_cast<int64_t>(set.windows.size()) == set.options.max_windows) return;
      const int64_t end = std::min(begin + seqlen + 1, n);
      set.windows.push_back({.ids = Sequence(ids.begin() + begin, ids.begin() + end), .first_target = 1});
    }
  }
  if (set.windows.empty()) {
    fail<FormatError>(where, "text: got {} tokens in {} documents, expected at least one to predict.", set.text_tokens,
                      documents.size());
  }
}

std::string bos_policy(Protocol protocol, bool bos) {
  if (!bos) return "none";
  switch (protocol) {
    case Protocol::kGptq:
      return "once, before the text";
    case Protocol::kLlamacpp:
      return "before the text, and in place of the first token of each window";
    case Protocol::kDocuments:
      return "before each document";
  }
  check_failed(__FILE__, __LINE__, "known protocol");
}

}  // namespace

std::string_view protocol_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::kGptq:
      return "gptq";
    case Protocol::kLlamacpp:
      return "llamacpp";
    case Protocol::kDocuments:
      return "documents";
  }
  check_failed(__FILE__, __LINE__, "known protocol");
}

Protocol parse_protocol(std::string_view name) {
  if (name == "gptq") return Protocol::kGptq;
  if (name == "llamacpp") return Protocol::kLlamacpp;
  fail<InvalidArgument>("--protocol", "got \"{}\", expected gptq or llamacpp.", name);
}

int64_t default_seqlen(const ModelConfig& config) { return std::min(kUsualSeqlen, config.max_context); }

void check_seqlen(int64_t seqlen, const ModelConfig& config) {
  if (seqlen > config.max_context) {
    fail<InvalidArgument>("--seqlen", "got {}, expected at most {} (max_position_embeddings of the model).", seqlen,
                          config.max_context);
  }
  if (seqlen < kShortestSeqlen)
    fail<InvalidArgument>("--seqlen", "got {}, expected at least {}.", seqlen, kShortestSeqlen);
}

std::vector<Sequence> tokenize_documents(const Tokenizer& tokenizer, std::span<const std::string> documents,
                                         Protocol protocol) {
  std::vector<Sequence> ids;
  for (const std::string& document : documents) {
    ids.push_back(tokenizer.encode(document, /*special=*/protocol == Protocol::kGptq));
  }
  return ids;
}

WindowSet cut_windows(std::span<const Sequence> documents, std::optional<TokenId> bos, const WindowOptions& options,
                      const std::string& where) {
  WindowSet set;
  set.options = options;
  set.bos_policy = bos_policy(options.protocol, bos.has_value());
  if (options.protocol == Protocol::kDocuments) {
    cut_documents(documents, bos, where, set);
  } else {
    cut_stream(documents, bos, where, set);
  }
  for (const Window& window : set.windows) set.predicted += window.predicted();
  return set;
}

WindowSet windows_of_sequences(std::span<const Sequence> sequences, const WindowOptions& options,
                               const std::string& bos_policy) {
  WindowSet set{options, {}, bos_policy, 0, 0};
  for (const Sequence& ids : sequences) {
    SCALEBITS_CHECK(ids.size() > 1);
    set.windows.push_back({ids, 1});
    set.text_tokens += static_cast<int64_t>(ids.size());
    set.predicted += set.windows.back().predicted();
  }
  return set;
}

void check_vocabulary(const WindowSet& set, const ModelConfig& config) {
  for (const Window& window : set.windows) {
    for (const TokenId id : window.ids) {
      if (id < 0 || id >= config.vocab_size) {
        fail<FormatError>("tokenizer.json",
                          "token id: got {}, expected 0..{} (vocab_size of config.json). Do tokenizer and "
                          "model belong together?",
                          id, config.vocab_size - 1);
      }
    }
  }
}

}  // namespace scalebits
