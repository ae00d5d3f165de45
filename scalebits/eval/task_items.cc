// SPDX-License-Identifier: Apache-2.0
#include "scalebits/eval/task_items.h"

#include "scalebits/base/errors.h"
#include "scalebits/eval/python_text.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

/// The fields of one record, checked as they are taken.
class Fields {
 public:
  Fields(const Json& record, const std::string& where) : record_(record), where_(where) {}

  [[nodiscard]] std::string text(const char* key, bool may_be_empty = false) const {
    const Json& field = get(key, "a string");
    if (!field.is_string()) fail<FormatError>(where_, "{}: got {}, expected a string.", key, field.type_name());
    auto value = field.get<std::string>();
    if (value.empty() && !may_be_empty) fail<FormatError>(where_, "{}: got an empty string, expected text.", key);
    return value;
  }

  [[nodiscard]] std::vector<std::string> texts(const char* key) const {
    const Json& field = get(key, "a list of strings");
    if (!field.is_array()) fail<FormatError>(where_, "{}: got {}, expected a list of strings.", key, field.type_name());
    if (field.size() < 2) fail<FormatError>(where_, "{}: got {} of them, expected at least 2.", key, field.size());
    std::vector<std::string> values;
    for (const Json& entry : field) {
      if (!entry.is_string() || entry.get_ref<const std::string&>().empty()) {
        fail<FormatError>(where_, "{}: entry {}: got {}, expected a string that is not empty.", key, values.size(),
                          entry.is_string() ? "an empty one" : entry.type_name());
      }
      values.push_back(entry.get<std::string>());
    }
    return values;
  }

  /// An index into `choices`, a number or (as HellaSwag has it) one written as a string.
  [[nodiscard]] int64_t label(const char* key, size_t choices) const {
    const Json& field = get(key, "the index of the right answer");
    std::string written = field.dump();
    if (field.is_string()) written = field.get<std::string>();
    for (size_t i = 0; i < choices; ++i) {
      if ((field.is_number_integer() || field.is_string()) && written == std::to_string(i))
        return static_cast<int64_t>(i);
    }
    fail<FormatError>(where_, "{}: got {}, expected the index of the right answer, 0..{}.", key, quote(written, 40),
                      choices - 1);
  }

 private:
  [[nodiscard]] const Json& get(const char* key, const char* expected) const {
    if (!record_.is_object()) {
      fail<FormatError>(where_, "line: got {}, expected an object.", record_.type_name());
    }
    const auto field = record_.find(key);
    if (field == record_.end()) fail<FormatError>(where_, "{}: missing, expected {}.", key, expected);
    return *field;
  }

  const Json& record_;
  const std::string& where_;
};

/// What `key` holds behind a wording that the stored text begins with. @throws FormatError when it does not
std::string after(const std::string& text, std::string_view beginning, const char* key, const std::string& where) {
  if (!text.starts_with(beginning)) {
    fail<FormatError>(where, "{}: got {}, expected text that begins with {}.", key, quote(text, 30), quote(beginning));
  }
  return text.substr(beginning.size());
}

TaskItem query_item(const Fields& fields, std::string question) {
  TaskItem item;
  item.question = std::move(question);
  item.choices = fields.texts("choices");
  item.gold = fields.label("gold", item.choices.size());
  return item;
}

/// `Question: GOAL\n` -> `Question: GOAL\nAnswer:`; ARC's stored text has no line end.
TaskItem question_item(const Fields& fields, const std::string& where) {
  std::string query = fields.text("query");
  (void)after(query, "Question: ", "query", where);
  if (query.ends_with('\n')) query.pop_back();
  return query_item(fields, query + "\nAnswer:");
}

TaskItem boolq_item(const Fields& fields, const std::string& where) {
  return query_item(fields, after(fields.text("query"), "Passage: ", "query", where) + "\nAnswer:");
}

TaskItem hellaswag_item(const Fields& fields) {
  TaskItem item;
  const std::string context = fields.text("ctx_a", true) + " " + python_capitalize(fields.text("ctx_b", true));
  item.question = hellaswag_text(fields.text("activity_label") + ": " + context);
  for (const std::string& ending : fields.texts("endings")) item.choices.push_back(hellaswag_text(ending));
  item.gold = fields.label("label", item.choices.size());
  return item;
}

TaskItem contexts_item(const Fields& fields) {
  TaskItem item;
  item.choices = fields.texts("context_options");
  item.target = fields.text("continuation");
  item.gold = fields.label("gold", item.choices.size());
  return item;
}

TaskItem last_word_item(const Fields& fields) {
  TaskItem item;
  item.question = fields.text("context", true);
  item.target = fields.text("continuation");
  return item;
}

TaskItem gsm8k_item(const Fields& fields) {
  TaskItem item;
  item.question = "Question: " + fields.text("question") + "\nAnswer:";
  item.target = fields.text("answer");
  return item;
}

TaskItem custom_item(const Fields& fields, TaskKind kind) {
  switch (kind) {
    case TaskKind::kChoices:
      return query_item(fields, fields.text("query", true));
    case TaskKind::kContexts:
      return contexts_item(fields);
    case TaskKind::kLastWord:
      return last_word_item(fields);
    case TaskKind::kGenerate:
      break;
  }
  check_failed(__FILE__, __LINE__, "a custom kind");
}

}  // namespace

std::string hellaswag_text(std::string_view text) {
  const std::string marked = replace_all(python_strip(text), " [title]", ". ");
  std::string clean;
  for (size_t at = 0; at < marked.size(); ++at) {
    // The regular expression \[.*?\], whose dot stops at a line end.
    if (marked[at] == '[') {
      const size_t end = marked.find_first_of("]\n", at);
      if (end != std::string::npos && marked[end] == ']') {
        at = end;
        continue;
      }
    }
    clean += marked[at];
  }
  return replace_all(clean, "  ", " ");
}

TaskKind custom_kind(const Json& record, const std::string& where) {
  const auto has = [&](const char* key) { return record.is_object() && record.contains(key); };
  if (has("context_options")) return TaskKind::kContexts;
  if (has("query") || has("choices")) return TaskKind::kChoices;
  if (has("context") || has("continuation")) return TaskKind::kLastWord;
  fail<FormatError>(where,
                    "keys: got none that is known, expected query, choices and gold; or context_options, continuation "
                    "and gold; or context and continuation.");
}

TaskItem json_item(ItemFormat format, const Json& record, const std::string& where) {
  const Fields fields(record, where);
  switch (format) {
    case ItemFormat::kPiqa:
    case ItemFormat::kArc:
      return question_item(fields, where);
    case ItemFormat::kBoolq:
      return boolq_item(fields, where);
    case ItemFormat::kHellaswag:
      return hellaswag_item(fields);
    case ItemFormat::kWinogrande:
      return contexts_item(fields);
    case ItemFormat::kLambada:
      return last_word_item(fields);
    case ItemFormat::kGsm8k:
      return gsm8k_item(fields);
    case ItemFormat::kCustom:
      return custom_item(fields, custom_kind(record, where));
    case ItemFormat::kMmlu:
      break;
  }
  check_failed(__FILE__, __LINE__, "a JSON format");
}

TaskItem mmlu_item(const CsvRow& row, const std::string& file) {
  const std::string where = fmt::format("{}:{}", file, row.line);
  if (row.fields.size() != 6) {
    fail<FormatError>(where, "fields: got {}, expected 6 (question, four choices, answer).", row.fields.size());
  }
  constexpr std::string_view kLetters = "ABCD", kDigits = "0123";
  TaskItem item;
  const std::string& answer = row.fields[5];
  const size_t digit = answer.size() == 1 ? kDigits.find(answer) : std::string_view::npos;
  const size_t letter = answer.size() == 1 ? kLetters.find(answer) : std::string_view::npos;
  if (digit == std::string_view::npos && letter == std::string_view::npos) {
    fail<FormatError>(where, "answer: got {}, expected 0..3 or A..D.", quote(answer, 20));
  }
  item.gold = static_cast<int64_t>(digit != std::string_view::npos ? digit : letter);
  item.question = python_strip(row.fields[0]);
  for (size_t i = 0; i < 4; ++i) {
    item.question += fmt::format("\n{}. {}", kLetters[i], row.fields[i + 1]);
    item.choices.emplace_back(1, kLetters[i]);
  }
  item.question += "\nAnswer:";
  return item;
}

}  // namespace scalebits
