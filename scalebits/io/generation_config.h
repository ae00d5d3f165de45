// SPDX-License-Identifier: Apache-2.0
/// generation_config.json of a Hugging Face checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace scalebits {

/// `eos_token_id`, one or several: an instruction model ends an answer with other tokens than config.json may know.
/// Nothing where there is no file, or the file says nothing. @throws IoError, FormatError
std::vector<int64_t> read_generation_eos(const std::filesystem::path& model_dir);

}  // namespace scalebits
