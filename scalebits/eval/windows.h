// SPDX-License-Identifier: Apache-2.0
/// The evaluation protocols: how a text becomes windows of token ids, and which of their tokens are predicted.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scalebits/calibrate/forward.h"

namespace scalebits {

enum class Protocol {
  /// Consecutive windows of the joined text; all tokens of a window but its first are predicted. GPTQ
  /// (arXiv 2210.17323), its repository's datautils.py and opt.py: the protocol of most papers.
  kGptq,
  /// Consecutive windows whose first token is replaced by BOS; the tokens behind the middle are predicted. llama.cpp,
  /// tools/perplexity.
  kLlamacpp,
  /// Every document on its own with BOS first, all of its tokens predicted, the context empty again every `seqlen`.
  kDocuments,
};
/// "gptq", "llamacpp" or "documents"
std::string_view protocol_name(Protocol protocol);
/// @throws InvalidArgument listing "gptq" and "llamacpp" ("documents" is chosen by giving a separator)
Protocol parse_protocol(std::string_view name);

/// The model reads all ids but the last; ids[first_target ..] are predicted, each from those before it.
struct Window {
  Sequence ids;
  int64_t first_target = 1;
  [[nodiscard]] int64_t predicted() const { return static_cast<int64_t>(ids.size()) - first_target; }
};

struct WindowOptions {
  Protocol protocol = Protocol::kGptq;
  int64_t seqlen = 2048;    ///< ids that the model reads at once
  int64_t max_windows = 0;  ///< only the first so many; 0 = all
};

struct WindowSet {
  WindowOptions options;
  std::vector<Window> windows;
  std::string bos_policy;   ///< for people: where BOS was put
  int64_t text_tokens = 0;  ///< of the whole text, BOS included where the protocol puts it into the text
  int64_t predicted = 0;    ///< over all windows
};

/// seqlen where the user gave none: what the papers use, or the model's context where that is shorter.
int64_t default_seqlen(const ModelConfig& config);
/// @throws InvalidArgument when the model's context is shorter than `seqlen` or seqlen is below 4
void check_seqlen(int64_t seqlen, const ModelConfig& config);

/// Ids of each document, without BOS. Text of special tokens is taken as these tokens by kGptq (as the Hugging Face
/// tokenizer does) and as plain text by the others (as llama.cpp does).
std::vector<Sequence> tokenize_documents(const Tokenizer& tokenizer, std::span<const std::string> documents,
                                         Protocol protocol);

/// @param documents ids of each document, without BOS
/// @param bos       what the tokenizer puts before a text, if anything
/// @param where     the text's name, for messages
/// A tail shorter than a window is dropped (kGptq, kLlamacpp).
/// @throws FormatError when the text is too short for one window
WindowSet cut_windows(std::span<const Sequence> documents, std::optional<TokenId> bos, const WindowOptions& options,
                      const std::string& where);

/// Windows that already are sequences of `options.seqlen` ids each: all but the first id of each is predicted.
WindowSet windows_of_sequences(std::span<const Sequence> sequences, const WindowOptions& options,
                               const std::string& bos_policy);

/// @throws FormatError when an id is outside the model's vocabulary
void check_vocabulary(const WindowSet& set, const ModelConfig& config);

}  // namespace scalebits
