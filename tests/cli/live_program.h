// SPDX-License-Identifier: Apache-2.0
/// A running program that is talked with: stdin stays open, stdout is read as it comes. Nothing depends on how fast the
/// machine is: everything waits for what it expects, up to a deadline that only a hung program reaches.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/cli/run_program.h"

namespace scalebits::test {

class LiveProgram {
 public:
  enum class Input { kPipe, kTerminal };

  /// With kTerminal, stdin and stdout are a pseudo-terminal; valid() says whether the system gave one.
  LiveProgram(std::vector<std::string> arguments, Input input) {
    std::array<int, 2> in{-1, -1}, out{-1, -1};
    if (input == Input::kTerminal) {
      const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
      if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) return;
      in[0] = out[1] = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
      in[1] = master;
      out[0] = fcntl(master, F_DUPFD_CLOEXEC, 0);
    } else if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0) {
      return;
    }
    if (in[0] < 0) return;
    to_ = in[1];
    from_ = out[0];
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    const std::string err = dir_ / "err";
    posix_spawn_file_actions_addopen(&files, 2, err.c_str(), O_WRONLY | O_CREAT, 0600);
    arguments.insert(arguments.begin(), SCALEBITS_BINARY);
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    if (posix_spawn(&pid_, SCALEBITS_BINARY, &files, nullptr, argv.data(), environ) != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&files);
    close(in[0]);
    if (out[1] != in[0]) close(out[1]);
  }
  ~LiveProgram() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    end_input();
    if (from_ >= 0) close(from_);
  }
  LiveProgram(const LiveProgram&) = delete;
  LiveProgram& operator=(const LiveProgram&) = delete;

  [[nodiscard]] bool valid() const { return pid_ > 0; }
  [[nodiscard]] const std::string& out() const { return out_; }
  [[nodiscard]] std::string err() const {
    std::ifstream file(dir_ / "err", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void say(const std::string& text) const {
    ASSERT_EQ(write(to_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void signal(int number) const { kill(pid_, number); }
  void end_input() {
    if (to_ >= 0) close(to_);
    to_ = -1;
  }

  /// Waits until `done` of the output so far; false at the deadline or when the program ended before.
  template <class Done>
  bool wait_for(const Done& done) {
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    while (!done()) {
      if (std::chrono::steady_clock::now() > end || !read_some()) return done();
    }
    return true;
  }
  /// Waits until stdout has this behind its first `from` bytes.
  bool wait_for_output(const std::string& text, size_t from = 0) {
    return wait_for([&] { return out_.find(text, std::min(from, out_.size())) != std::string::npos; });
  }
  bool wait_for_error(const std::string& text) {
    return wait_for([&] { return err().find(text) != std::string::npos; });
  }

  /// Exit code, or 1000 + signal; -1 when it does not end.
  int wait() {
    wait_for([] { return false; });  // until its output ends
    int status = 0;
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > end) return -1;
      usleep(10'000);
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

 private:
  static constexpr std::chrono::seconds kDeadline{120};

  /// Reads what there is, or waits a moment. False at the end of the output: the program has ended, or soon will.
  bool read_some() {
    pollfd state{.fd = from_, .events = POLLIN, .revents = 0};
    if (poll(&state, 1, 20) <= 0) return true;
    std::array<char, 4096> buffer;
    const ssize_t n = read(from_, buffer.data(), buffer.size());
    if (n > 0) out_.append(buffer.data(), static_cast<size_t>(n));
    return n > 0;
  }

  TempDir dir_;
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
  std::string out_;
};

}  // namespace scalebits::test
