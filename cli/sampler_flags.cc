// SPDX-License-Identifier: Apache-2.0
#include "cli/sampler_flags.h"

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>

#include "scalebits/base/errors.h"

namespace scalebits::cli {

void add_sampler_options(CLI::App* command, SamplerOptions& o) {
  command->add_option("--temperature", o.temperature, "0 = always the most probable token; lower is more predictable")
      ->type_name("T")
      ->capture_default_str();
  command->add_option("--top-k", o.top_k, "Draw from the K most probable tokens; 0 = from all")
      ->type_name("K")
      ->capture_default_str();
  command->add_option("--top-p", o.top_p, "Draw from the fewest tokens that together have probability P; 1 = from all")
      ->type_name("P")
      ->capture_default_str();
  command->add_option("--min-p", o.min_p, "Leave out tokens less probable than P times the most probable one; 0 = none")
      ->type_name("P")
      ->capture_default_str();
  command
      ->add_option("--repeat-penalty", o.repeat_penalty,
                   "Above 1: tokens that already occurred become less likely; 1 = off")
      ->type_name("X")
      ->capture_default_str();
  command->add_option("--seed", o.seed, "Same seed, same text")->type_name("N")->capture_default_str();
}

void add_stop_option(CLI::App* command, std::vector<std::string>& stop) {
  command->add_option("--stop", stop, "Stop before this text; may be given several times")
      ->type_name("TEXT")
      ->allow_extra_args(false);
}

const char* what_stopped(StopReason reason) {
  switch (reason) {
    case StopReason::kLength:
      return "--max-new-tokens";
    case StopReason::kEos:
      return "an end-of-text token";
    case StopReason::kStopString:
      return "a stop string";
    case StopReason::kInterrupted:
      return "Ctrl+C";
  }
  check_failed(__FILE__, __LINE__, "known reason");
}

}  // namespace scalebits::cli
