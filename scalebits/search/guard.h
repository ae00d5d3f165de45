// SPDX-License-Identifier: Apache-2.0
/// After a search by blocks: would simpler widths within the same bytes have been better on held-out text?
#pragma once

#include <functional>

#include "scalebits/search/search_model.h"

namespace scalebits {

struct Guarded {
  GuardResult result;
  Widths widths;  ///< of the best plan; applied to the model
};

/// Compares the finished search of `state` with uniform widths (two neighbouring ones in model order) and with a short
/// search for one width per matrix, all in the same channel order. Costs one held-out pass, and for the matrices a
/// fraction of the iterations that the search took; their first gradient is the search's. Goes on from state.guard, and
/// calls `save` whenever that has changed. Ties go to the search, then to uniform widths.
Guarded compare_with_simple_plans(SearchModel& model, const QuantizedLayers& layers, int64_t budget_bytes,
                                  const SearchOptions& options, const Widths& start, SearchState& state,
                                  const std::function<void()>& save, Log& log);

}  // namespace scalebits
