// SPDX-License-Identifier: Apache-2.0
/// How a subcommand joins the program. Each lives in a file of its own, cli/NAME.cc:
///
///     void add_name(CLI::App& app, Invocation& invocation) {
///       const auto options = std::make_shared<NameOptions>();        // lives as long as the parser
///       CLI::App* command = add_command(app, "name", "What it does.", invocation);
///       command->add_option("--flag", options->flag, "What it means, unit (default: ...)");
///       on_run(command, invocation, [options](Session& session) { ...; return Json{...}; });
///     }
///
/// is declared below and called in main.cc. main.cc parses, runs the chosen command, writes its record (--json) and
/// turns exceptions into exit codes; a command just throws.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>

#include "scalebits/base/log.h"
#include "scalebits/io/json.h"

namespace scalebits::cli {

/// What a running command gets.
struct Session {
  Log& log;
  /// Thrown after the record was written: for a command whose result is that something is wrong.
  std::exception_ptr failure;
};

/// What the command line asked for.
struct Invocation {
  std::string command;                ///< "eval ppl"
  std::function<Json(Session&)> run;  ///< of the chosen command; its return value is the record's `result`
  std::string json_path;              ///< --json
  int threads = 0;                    ///< --threads
  bool quiet = false;                 ///< --quiet
};

/// A subcommand with the flags that all have: --json, --threads, --quiet.
CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& description,
                      Invocation& invocation);
/// Refuses "", which a shell variable that is not set leaves and which would read as a flag that is not there, or as 0.
CLI::Validator not_empty();
/// Lets `command` be what the invocation runs when the user names it.
void on_run(CLI::App* command, Invocation& invocation, std::function<Json(Session&)> run);

/// One line of the result, on stdout.
template <class... Args>
void print_line(fmt::format_string<Args...> text, Args&&... args) {
  fmt::print(stdout, text, std::forward<Args>(args)...);
  std::fputc('\n', stdout);
}

/// Whether the program was asked to end (SIGTERM), not only to stop what it does (Ctrl+C).
bool end_requested();

/// "1,234,567"
std::string grouped(int64_t number);

void add_bench(CLI::App& app, Invocation& invocation);
void add_chat(CLI::App& app, Invocation& invocation);
void add_eval(CLI::App& app, Invocation& invocation);
void add_generate(CLI::App& app, Invocation& invocation);
void add_tokenize(CLI::App& app, Invocation& invocation);
void add_inspect(CLI::App& app, Invocation& invocation);
void add_verify(CLI::App& app, Invocation& invocation);
void add_quantize(CLI::App& app, Invocation& invocation);
void add_export(CLI::App& app, Invocation& invocation);

}  // namespace scalebits::cli
