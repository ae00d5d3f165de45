// SPDX-License-Identifier: Apache-2.0
/// The JSON record of one run: what was asked, of which program, on which machine, and what came out.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "scalebits/io/json.h"

namespace scalebits {

/// {"cpu": model name, "cores": those we may run on, "memory_bytes", "isa": name of the kernels in use}
Json describe_machine();

/// {"command", "version", "commit", "arguments", "machine", "result"}
Json make_record(const std::string& command, const std::vector<std::string>& arguments, Json result);

/// Writes to a temporary name first: the file appears whole or not at all. @throws IoError
void write_record(const std::filesystem::path& path, const Json& record);

}  // namespace scalebits
