// SPDX-License-Identifier: Apache-2.0
/// A search between two iterations, as a file in the work directory.
#pragma once

#include <filesystem>
#include <optional>

#include "scalebits/io/json.h"
#include "scalebits/search/search.h"

namespace scalebits {

Json trace_to_json(const std::vector<TraceEntry>& trace);

/// @param fingerprint  of everything that decides the search; a state goes on only under the same one
void save_search_state(const std::filesystem::path& path, const SearchState& state, const QuantizedLayers& layers,
                       const std::string& fingerprint);

/// Nothing when the file is absent or was written for other inputs (`why` says which).
/// @throws FormatError when it is malformed
std::optional<SearchState> load_search_state(const std::filesystem::path& path, const QuantizedLayers& layers,
                                             const std::string& fingerprint, std::string& why);

}  // namespace scalebits
