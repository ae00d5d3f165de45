// SPDX-License-Identifier: Apache-2.0
/// The plan of any budget between the ends of a frontier, without a search.
#pragma once

#include "scalebits/search/frontier_file.h"

namespace scalebits {

/// The widths of the largest stored point whose bytes fit, which for a stored budget are just those. Where the budget
/// is larger than that point's, it is so far on the way to the next point as its bytes are: that share of the bytes
/// which moves down free is freed, least harm first, and moves up are taken, most gain first, while they fit. What is
/// then left goes, bit by bit, to the other blocks that move up and then to all in model order, until at most 0.5 % of
/// the budget is free or no block's next bit fits. Never above the budget. Ties go to the lower index.
/// @param what  the target as the user gave it
/// @throws InvalidArgument below the first point and above the last budget, naming both
Plan cut_frontier(const Frontier& frontier, int64_t budget_bytes, const std::string& what);

}  // namespace scalebits
