// SPDX-License-Identifier: Apache-2.0
/// Flags of the commands that let a model write: how tokens are drawn, and what ends a text.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "scalebits/run/continuation.h"

namespace scalebits::cli {

void add_sampler_options(CLI::App* command, SamplerOptions& options);
void add_stop_option(CLI::App* command, std::vector<std::string>& stop);
/// For the last line of the log: "stopped by an end-of-text token".
const char* what_stopped(StopReason reason);

}  // namespace scalebits::cli
