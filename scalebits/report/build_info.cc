// SPDX-License-Identifier: Apache-2.0
#include "scalebits/report/build_info.h"

#include "scalebits_build_info.inl"  // written into the build directory by cmake/build_info.cmake

namespace scalebits {

const char* program_version() { return SCALEBITS_VERSION_TEXT; }
const char* program_commit() { return SCALEBITS_COMMIT_TEXT; }

}  // namespace scalebits
