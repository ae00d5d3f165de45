// SPDX-License-Identifier: Apache-2.0
/// What the evaluations have in common: a model and the arithmetic that it is evaluated with.
#pragma once

#include <memory>
#include <string>

#include "cli/command.h"
#include "scalebits/model/weights.h"

namespace scalebits::cli {

struct EvalModelFlags {
  std::string dir, dtype = "f32", activations = "f32";
};

/// --dtype and --activations
void add_arithmetic_options(CLI::App* command, EvalModelFlags& flags);

/// @throws InvalidArgument for arithmetic that this kind of model does not have; what open_model throws
std::unique_ptr<ModelWeights> open_for_eval(const EvalModelFlags& flags);

/// Adds `tasks` to `eval`.
void add_eval_tasks(CLI::App& eval, Invocation& invocation);

}  // namespace scalebits::cli
