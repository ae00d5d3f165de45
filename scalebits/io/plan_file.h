// SPDX-License-Identifier: Apache-2.0
/// A plan as a JSON file: small enough to read, complete enough to be applied again.
#pragma once

#include <filesystem>

#include "scalebits/format/plan.h"
#include "scalebits/io/json.h"

namespace scalebits {

/// @param extra  further keys for people and tools (budget, trace); ignored when read back
std::string plan_to_json(const Plan& plan, const Json& extra = Json::object());
/// @throws FormatError naming the key at fault; what check_plan throws
Plan parse_plan(std::string_view text, const std::string& where);
Plan read_plan(const std::filesystem::path& path);

Json order_to_json(const FoldedOrder& order);
FoldedOrder order_from_json(const Json& json, const std::string& where);
/// Widths as one string of digits per row of blocks.
Json widths_to_json(const BlockGrid& grid, const std::vector<uint8_t>& bits);
std::vector<uint8_t> widths_from_json(const BlockGrid& grid, const Json& rows, const std::string& where);

}  // namespace scalebits
