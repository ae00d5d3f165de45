// SPDX-License-Identifier: Apache-2.0
/// Which layers of a plan share their order of columns (docs/format.md, "Permutations").
#pragma once

#include "scalebits/format/plan.h"
#include "scalebits/io/hf_config.h"

namespace scalebits {

/// A reader of the packed file knows by `tie` and by the names of the layers alone whose col_perm applies, so a plan
/// may share in no other way. @throws FormatError naming the first layer that does
void check_tie(const Plan& plan, const ModelConfig& config);

}  // namespace scalebits
