// SPDX-License-Identifier: Apache-2.0
/// A frontier as a JSON file: one plan, and the widths that stand in its place at each budget.
#pragma once

#include <filesystem>
#include <span>

#include "scalebits/io/json.h"
#include "scalebits/search/search.h"

namespace scalebits {

struct Frontier {
  Plan plan;                          ///< of the first point; all others differ from it in their widths only
  std::vector<bool> fixed;            ///< [linear]: its width was given and is the same in all points
  std::vector<FrontierPoint> points;  ///< rising in budget and bytes

  [[nodiscard]] double bpw(int64_t bytes) const {
    return 8.0 * static_cast<double>(bytes) / static_cast<double>(plan.n_weights());
  }
};

/// @param extra  further keys for people and tools; ignored when read back
std::string frontier_to_json(const Frontier& frontier, const Json& extra = Json::object());
/// Without the traces. @throws FormatError naming the point at fault
Frontier parse_frontier(std::string_view text, const std::string& where);
Frontier read_frontier(const std::filesystem::path& path);

/// The file meant by --plan: in a directory `frontier.json`, or else `plan.json`; else the path itself.
/// @throws InvalidArgument for a directory with neither
std::filesystem::path plan_path(const std::filesystem::path& path);
/// Whether a file (a plan, a frontier) says that it is a frontier. @throws IoError, FormatError when it is not JSON
bool is_frontier(const std::filesystem::path& file);

/// All but the trace.
Json frontier_point_to_json(const FrontierPoint& point, std::span<const BlockGrid> grids);
FrontierPoint frontier_point_from_json(const Json& json, std::span<const BlockGrid> grids, const std::string& where);

}  // namespace scalebits
