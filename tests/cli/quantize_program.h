// SPDX-License-Identifier: Apache-2.0
/// The quantize command on the embedded model with little calibration.
#pragma once

#include <algorithm>

#include "scalebits/io/file.h"
#include "tests/cli/run_program.h"

namespace scalebits::test {

class QuantizeProgram : public testing::Test {
 protected:
  /// Arguments of a run that takes about two seconds.
  [[nodiscard]] std::vector<std::string> arguments(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"quantize", demo_model().string(), "-o", dir_ / out, "--quiet"};
    const auto given = [&](const char* flag) { return std::find(more.begin(), more.end(), flag) != more.end(); };
    const auto unless_given = [&](const char* flag, const char* value) {
      if (!given(flag)) all.insert(all.end(), {flag, value});
    };
    unless_given("--nsamples", "4");
    unless_given("--seqlen", "64");
    unless_given("--block", "64x128");
    unless_given("--iterations", "2");
    if (!given("--plan") && !given("--target-size")) all.insert(all.end(), {"--target-bpw", "2.5"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome quantize(const std::string& out, std::vector<std::string> more = {}) const {
    return run_program(arguments(out, std::move(more)));
  }
  [[nodiscard]] std::string weights(const std::string& out) const {
    return read_text_file(dir_ / (out + "/model.safetensors"));
  }
  TempDir dir_;
};

}  // namespace scalebits::test
