// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/record.h"

#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "scalebits/io/file.h"
#include "scalebits/kernels/dispatch.h"
#include "scalebits/report/build_info.h"

namespace scalebits {
namespace {

/// The first "model name" of /proc/cpuinfo; ARM machines have none.
std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

int cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

Json describe_machine() {
  return {{"cpu", cpu_name()},
          {"cores", cores()},
          {"memory_bytes", static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE)},
          {"isa", active_kernels().name}};
}

Json make_record(const std::string& command, const std::vector<std::string>& arguments, Json result) {
  return {{"command", command},     {"version", program_version()},  {"commit", program_commit()},
          {"arguments", arguments}, {"machine", describe_machine()}, {"result", std::move(result)}};
}

void write_record(const std::filesystem::path& path, const Json& record) {
  // Arguments and file names may hold bytes that are not UTF-8.
  write_text_file(path, record.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace scalebits
