// SPDX-License-Identifier: Apache-2.0
/// What a task is: items with a question and either answers to choose from or one to produce, worded as EleutherAI's
/// lm-evaluation-harness words them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace scalebits {

enum class TaskKind {
  kChoices,   ///< one context, several continuations: the most probable one is the answer
  kContexts,  ///< several contexts, one continuation (partial scoring, as winogrande)
  kLastWord,  ///< one continuation, scored by probability and by whether greedy decoding gives it (lambada)
  kGenerate,  ///< text is generated and compared with the reference answer (gsm8k)
};

/// How the stored lines of a data file are read (docs/tasks.md).
enum class ItemFormat { kPiqa, kHellaswag, kWinogrande, kArc, kBoolq, kLambada, kMmlu, kGsm8k, kCustom };

/// How examples are drawn from their pool, as the harness does it for the same task.
enum class ExampleSampler {
  kFirst,           ///< the first ones
  kRandom,          ///< Python's random.sample
  kRandomSpareOne,  ///< one more is drawn, and the item itself dropped if it is among them
};

struct TaskItem {
  std::string question;              ///< what comes before the answer; empty for kContexts
  std::vector<std::string> choices;  ///< answers (kChoices) or contexts (kContexts); else empty
  std::string target;                ///< the continuation (kContexts, kLastWord) or the reference answer (kGenerate)
  int64_t gold = 0;                  ///< index into `choices`
  bool operator==(const TaskItem&) const = default;
};

/// A task as the user may name it. Paths are relative to the data directory.
struct TaskSpec {
  std::string name;
  TaskKind kind = TaskKind::kChoices;
  ItemFormat format = ItemFormat::kCustom;
  std::filesystem::path items, examples;  ///< the file that is evaluated, and the one that examples come from
  bool examples_required = false;         ///< without the file there is no example; else the items themselves serve
  std::string description;                ///< stands before the examples
  std::string group, category;            ///< "mmlu" and "stem", or empty
  int64_t default_examples = 0;
  ExampleSampler sampler = ExampleSampler::kRandomSpareOne;
  bool norm = false;                   ///< acc_norm is reported beside acc
  std::string answer_delimiter = " ";  ///< between question and answer
};

struct Task {
  TaskSpec spec;
  std::vector<TaskItem> items;
  std::vector<TaskItem> examples;   ///< pool of examples; empty where none are wanted
  bool examples_are_items = false;  ///< the pool is the evaluated file
  std::filesystem::path file;       ///< of the items, as opened
};

/// Names that `--tasks` knows, groups included, in the order of the documentation.
std::vector<std::string> task_names();

/// The tasks that a name stands for: one, or the 57 of `mmlu`, or a custom one for a path that ends in .jsonl.
/// @throws InvalidArgument listing the known names, the nearest first
std::vector<TaskSpec> find_tasks(std::string_view name);

/// Reads the items, and the pool of examples if `n_examples` > 0.
/// @param data_dir  where the files of known tasks are; a custom task's path is taken as it is
/// @throws IoError naming the path that was looked for; FormatError naming file and line; InvalidArgument when there
/// are
///         fewer examples than wanted
Task read_task(const TaskSpec& spec, const std::filesystem::path& data_dir, int64_t n_examples);

}  // namespace scalebits
