// SPDX-License-Identifier: Apache-2.0
/// Runs the program as a user would: arguments in, exit code, stdout and stderr out.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/data.h"

namespace scalebits::test {

struct Outcome {
  int exit_code = -1;  ///< 1000 + signal when one ended it
  std::string out, err;
};

/// A running program whose output goes to files.
class Program {
 public:
  /// @param input what it reads from stdin
  explicit Program(std::vector<std::string> arguments, const std::string& input = "") {
    std::ofstream(dir_ / "in", std::ios::binary) << input;
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    const std::string in = dir_ / "in", out = dir_ / "out", err = dir_ / "err";
    posix_spawn_file_actions_addopen(&files, 0, in.c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, out.c_str(), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&files, 2, err.c_str(), O_WRONLY | O_CREAT, 0600);
    arguments.insert(arguments.begin(), SCALEBITS_BINARY);
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    const int error = posix_spawn(&pid_, SCALEBITS_BINARY, &files, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) throw std::runtime_error(std::string("cannot start ") + SCALEBITS_BINARY);
  }

  void signal(int number) const { kill(pid_, number); }
  [[nodiscard]] std::string out() const { return content("out"); }

  Outcome wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), content("out"), content("err")};
  }

 private:
  [[nodiscard]] std::string content(const std::string& name) const {
    std::ifstream file(dir_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempDir dir_;
  pid_t pid_ = -1;
};

inline Outcome run_program(std::vector<std::string> arguments, const std::string& input = "") {
  return Program(std::move(arguments), input).wait();
}

}  // namespace scalebits::test
