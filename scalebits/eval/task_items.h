// SPDX-License-Identifier: Apache-2.0
/// From the lines of a data file to items worded as the harness words them. Which wording is stored, and what of the
/// original data set cannot be recovered from it: docs/tasks.md.
#pragma once

#include <string>
#include <vector>

#include "scalebits/eval/csv.h"
#include "scalebits/eval/task.h"
#include "scalebits/io/json.h"

namespace scalebits {

/// One line of a JSONL file. @param where `file:line`, for messages @throws FormatError naming it and the key
TaskItem json_item(ItemFormat format, const Json& record, const std::string& where);

/// What a custom record is scored as, by the keys that it has. @throws FormatError listing the three sets of keys
TaskKind custom_kind(const Json& record, const std::string& where);

/// One row of an MMLU file: question, four choices, answer (0..3 or A..D). @throws FormatError naming file and line
TaskItem mmlu_item(const CsvRow& row, const std::string& file);

/// The harness's clean-up of a HellaSwag context or ending: artefacts of WikiHow go away.
std::string hellaswag_text(std::string_view text);

}  // namespace scalebits
