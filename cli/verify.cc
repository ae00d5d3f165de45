// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/verify.h"

#include <memory>

#include "cli/command.h"
#include "scalebits/base/errors.h"

namespace scalebits::cli {

void add_verify(CLI::App& app, Invocation& invocation) {
  const auto model = std::make_shared<std::string>();
  CLI::App* command =
      add_command(app, "verify",
                  "Check every byte of a model: checksums, layout, completeness, finite numbers. Prints "
                  "one line for each problem; exit code 3 where there is one",
                  invocation);
  command->add_option("MODEL", *model, "Directory of a dense or packed checkpoint")->required();
  on_run(command, invocation, [model](Session& session) {
    const Verification found = verify_model(*model, session.log);
    for (const std::string& problem : found.problems) print_line("{}", problem);
    if (found.problems.empty()) {
      print_line("sound: {} tensors, {} bytes, {} checksums compared", found.tensors, grouped(found.bytes),
                 found.checksums);
    } else {
      session.failure =
          std::make_exception_ptr(FormatError(fmt::format("[{}] problems: got {}, expected none. The first: {}", *model,
                                                          found.problems.size(), found.problems.front())));
    }
    return Json{{"sound", found.problems.empty()},
                {"problems", found.problems},
                {"tensors", found.tensors},
                {"checksums", found.checksums},
                {"bytes", found.bytes}};
  });
}

}  // namespace scalebits::cli
