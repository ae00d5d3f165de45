// SPDX-License-Identifier: Apache-2.0
/// The texts that a task puts before a model, word for word those of the harness.
#pragma once

#include <string>
#include <vector>

#include "scalebits/eval/python_random.h"
#include "scalebits/eval/task.h"

namespace scalebits {

/// What is asked about one item.
struct Prompt {
  std::vector<std::string> contexts;       ///< one, or one for each choice (kContexts)
  std::vector<std::string> continuations;  ///< one for each choice, or one; none for kGenerate
  [[nodiscard]] const std::string& context(size_t i) const { return contexts[contexts.size() == 1 ? 0 : i]; }
  [[nodiscard]] const std::string& continuation(size_t i) const {
    return continuations[continuations.size() == 1 ? 0 : i];
  }
  [[nodiscard]] size_t pairs() const { return std::max(contexts.size(), continuations.size()); }
};

/// The harness's seed for examples (`--seed`, its fourth number).
inline constexpr uint32_t kExampleSeed = 1234;

/// Prompts of the first `n_items` items with `n_examples` examples each, drawn item by item from one stream.
std::vector<Prompt> task_prompts(const Task& task, int64_t n_items, int64_t n_examples);

}  // namespace scalebits
