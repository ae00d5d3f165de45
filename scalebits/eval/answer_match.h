// SPDX-License-Identifier: Apache-2.0
/// How a generated solution of a GSM8K problem is compared with the reference: the harness's two filters and its
/// exact_match (lm_eval/tasks/gsm8k/gsm8k.yaml).
#pragma once

#include <string>
#include <string_view>

namespace scalebits {

/// The first number behind `#### `: regex `#### (\-?[0-9\.\,]+)`; "[invalid]" where there is none.
std::string strict_answer(std::string_view solution);

/// The last number anywhere: regex `(-?[$0-9.,]{2,})|(-?[0-9]+)`; "[invalid]" where there is none.
std::string flexible_answer(std::string_view solution);

/// Equal once commas, dollars, everything up to the last `#### `, a full stop at the end and case are ignored.
bool answers_match(std::string_view answer, std::string_view reference);

}  // namespace scalebits
