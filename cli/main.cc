// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <new>
#include <thread>

#include "cli/command.h"
#include "cli/console_log.h"
#include "scalebits/base/errors.h"
#include "scalebits/base/interrupt.h"
#include "scalebits/base/parallel.h"
#include "scalebits/report/build_info.h"
#include "scalebits/report/record.h"

namespace scalebits::cli {
namespace {

/// Exit codes. 130 is what a shell shows for a program killed by Ctrl+C.
enum Exit { kDone = 0, kFailed = 1, kUsage = 2, kBadInput = 3, kStopped = 75, kKilled = 130 };

std::atomic<bool> g_end{false};

void on_signal(int signal) {
  if (stop_requested()) _exit(kKilled);  // asked twice: do not wait for a consistent state
  if (signal == SIGTERM) g_end = true;
  request_stop();
}

/// Signals are taken by a thread that does nothing else: a handler on a thread inside one of oneDNN's generated
/// products corrupted the heap in 8 of 60 runs stopped within 0.3 s. (It looks as if they use the stack pointer as a
/// register, so that the signal's frame is written there; none of 80 runs crashed since.)
void handle_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::thread([] {
    for (;;) pause();
  }).detach();
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);  // threads started from here on inherit it
}

/// `message` up to its first line end: libtorch appends a stack trace.
void print_error(const std::string& command, std::string_view message) {
  const std::string name = command.substr(0, command.find(' '));
  std::fflush(stdout);
  fmt::print(stderr, "scalebits{}{}: error: {}\n", name.empty() ? "" : " ", name,
             message.substr(0, message.find('\n')));
}

int exit_code_of(const std::exception& error) {
  if (dynamic_cast<const InvalidArgument*>(&error) != nullptr) return kUsage;
  if (dynamic_cast<const FormatError*>(&error) != nullptr) return kBadInput;
  if (dynamic_cast<const Unsupported*>(&error) != nullptr) return kBadInput;
  if (dynamic_cast<const Interrupted*>(&error) != nullptr) return kStopped;
  return kFailed;
}

void run(const Invocation& invocation, const std::vector<std::string>& arguments) {
  ConsoleLog log(invocation.quiet);
  set_num_threads(invocation.threads);
  Session session{.log = log, .failure = {}};
  Json result = invocation.run(session);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) fail<IoError>("stdout", "cannot write the result.");
  if (!invocation.json_path.empty()) {
    write_record(invocation.json_path, make_record(invocation.command, arguments, std::move(result)));
  }
  if (session.failure) std::rethrow_exception(session.failure);
}

int main(int argc, char** argv) {
  Invocation invocation;
  CLI::App app(
      "scalebits: finds how many bits each block of each weight matrix of a language model deserves, packs the "
      "model accordingly, and runs it.\n\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input file, 75 "
      "stopped by Ctrl+C with a consistent state.");
  app.name("scalebits");
  app.set_version_flag("--version", fmt::format("scalebits {} ({})", program_version(), program_commit()));
  app.require_subcommand(1);
  add_quantize(app, invocation);
  add_eval(app, invocation);
  add_generate(app, invocation);
  add_chat(app, invocation);
  add_tokenize(app, invocation);
  add_inspect(app, invocation);
  add_verify(app, invocation);
  add_export(app, invocation);
  add_bench(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const auto named = app.get_subcommands();
    print_error(named.empty() ? "" : named.front()->get_name(),
                fmt::format("{}. Run with --help for more information.", error.what()));
    return kUsage;
  }
  handle_signals();
  try {
    run(invocation, {argv + 1, argv + argc});
    return kDone;
  } catch (const std::bad_alloc&) {
    print_error(invocation.command, "not enough memory");
    return kFailed;
  } catch (const std::exception& error) {
    print_error(invocation.command, error.what());
    return exit_code_of(error);
  }
}

}  // namespace

bool end_requested() { return g_end; }

}  // namespace scalebits::cli

int main(int argc, char** argv) { return scalebits::cli::main(argc, argv); }
