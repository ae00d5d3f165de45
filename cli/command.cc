// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <utility>

namespace scalebits::cli {

CLI::Validator not_empty() {
  return {[](const std::string& value) { return value.empty() ? std::string("got \"\", expected a value") : ""; }, ""};
}

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& description,
                      Invocation& invocation) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->add_option("--json", invocation.json_path, "Write a record of the run to this file (JSON)")
      ->type_name("FILE")
      ->check(not_empty())
      ->group("Common");
  command->add_option("--threads", invocation.threads, "Threads; 0 = one for each core that the process may use")
      ->check(CLI::Range(0, 1024))
      ->type_name("N")
      ->capture_default_str()
      ->group("Common");
  command->add_flag("--quiet", invocation.quiet, "No log and no progress on stderr, only warnings and errors")
      ->group("Common");
  return command;
}

void on_run(CLI::App* command, Invocation& invocation, std::function<Json(Session&)> run) {
  std::string name = command->get_name();
  for (const CLI::App* parent = command->get_parent(); parent != nullptr && parent->get_parent() != nullptr;
       parent = parent->get_parent()) {
    name = parent->get_name() + " " + name;
  }
  command->callback([&invocation, name, run = std::move(run)] {
    invocation.command = name;
    invocation.run = run;
  });
}

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  const size_t sign = number < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > sign + 3;) digits.insert(i -= 3, ",");
  return digits;
}

}  // namespace scalebits::cli
