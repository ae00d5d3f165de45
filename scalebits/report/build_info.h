// SPDX-License-Identifier: Apache-2.0
/// Which program this is: for --version and for result records.
#pragma once

namespace scalebits {

const char* program_version();  ///< "0.1.0"
const char* program_commit();   ///< short hash, with "+" behind it when files differed from it; "unknown" outside git

}  // namespace scalebits
