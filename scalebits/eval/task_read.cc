// SPDX-License-Identifier: Apache-2.0
#include "scalebits/base/errors.h"
#include "scalebits/eval/task.h"
#include "scalebits/eval/task_items.h"
#include "scalebits/io/file.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

/// A whole file of text, which must be there.
std::string read_data(const std::filesystem::path& path, const std::string& task) {
  if (!std::filesystem::exists(path)) {
    fail<IoError>(task, "data: looked for {}, found no such file. Give the folder with --data (docs/tasks.md).",
                  path.string());
  }
  std::string text = read_text_file(path);
  const size_t bad = find_invalid_utf8(text);
  if (bad != std::string_view::npos) {
    fail<FormatError>(path.string(), "byte {}: got {:#04x}, which is not part of UTF-8 text.", bad,
                      static_cast<uint8_t>(text[bad]));
  }
  return text;
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

std::vector<TaskItem> read_jsonl(std::string_view text, TaskSpec& spec, const std::string& file) {
  std::vector<TaskItem> items;
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (is_blank(line)) continue;
    const std::string where = fmt::format("{}:{}", file, number);
    const Json record = parse_json(line, where);
    if (spec.format == ItemFormat::kCustom) {
      const TaskKind kind = custom_kind(record, where);
      if (items.empty()) spec.kind = kind;
      if (kind != spec.kind)
        fail<FormatError>(where, "keys: got those of another kind of item than in the first line.");
    }
    items.push_back(json_item(spec.format, record, where));
  }
  return items;
}

std::vector<TaskItem> read_csv(std::string_view text, const std::string& file) {
  std::vector<TaskItem> items;
  std::vector<CsvRow> rows = parse_csv(text, file);
  // The original files have no header.
  if (!rows.empty() && rows.front().fields.front() == "question") rows.erase(rows.begin());
  for (const CsvRow& row : rows) items.push_back(mmlu_item(row, file));
  return items;
}

std::vector<TaskItem> read_items(const std::filesystem::path& path, TaskSpec& spec) {
  const std::string text = read_data(path, spec.name), file = path.string();
  auto items = spec.format == ItemFormat::kMmlu ? read_csv(text, file) : read_jsonl(text, spec, file);
  if (items.empty()) fail<FormatError>(file, "items: got none, expected at least one.");
  return items;
}

}  // namespace

Task read_task(const TaskSpec& spec, const std::filesystem::path& data_dir, int64_t n_examples) {
  const auto path_of = [&](const std::filesystem::path& file) {
    return spec.format == ItemFormat::kCustom ? file : data_dir / file;
  };
  Task task;
  task.spec = spec;
  task.file = path_of(spec.items);
  task.items = read_items(task.file, task.spec);
  if (task.spec.kind != TaskKind::kChoices) task.spec.norm = false;
  if (n_examples == 0) return task;

  const std::filesystem::path pool = path_of(spec.examples);
  task.examples_are_items = !spec.examples_required && !std::filesystem::exists(pool);
  task.examples = task.examples_are_items ? task.items : read_items(pool, task.spec);
  // An item is no example for itself.
  const auto available = static_cast<int64_t>(task.examples.size()) - (spec.sampler == ExampleSampler::kFirst ? 0 : 1);
  if (n_examples > available) {
    fail<InvalidArgument>("--num-fewshot", "got {}, expected at most {}, which is what {} has for {}.", n_examples,
                          available, (task.examples_are_items ? task.file : pool).string(), spec.name);
  }
  return task;
}

}  // namespace scalebits
