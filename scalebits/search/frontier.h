// SPDX-License-Identifier: Apache-2.0
/// Widths for a series of rising budgets from one search (docs/search.md, "Frontier").
#pragma once

#include <functional>
#include <span>

#include "scalebits/search/search_model.h"

namespace scalebits {

/// Walks up options.frontier: a search by blocks within the first budget, from the widths of state; then, for each of
/// the others, a few iterations from the widths of the one before. So no point is worse on held-out text than the one
/// before but for the filling up of bytes that held-out text found no use for. Goes on from state.frontier, and calls
/// `save` whenever the state has changed. All points are in state.frontier afterwards.
void walk_frontier(SearchModel& model, const QuantizedLayers& layers, const SearchOptions& options, SearchState& state,
                   const std::function<void()>& save, Log& log);

/// FrontierPoint::rank of `upper` over `lower`. Ties go to the lower index.
/// @param units  moves of every block at `lower`, in model order
Widths rank_moves(const Widths& lower, const Widths& upper, std::span<const UnitMoves> units);

}  // namespace scalebits
