// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/frontier_file.h"

#include <cmath>
#include <map>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/plan_file.h"
#include "scalebits/io/text.h"
#include "scalebits/search/state_file.h"

namespace scalebits {
namespace {

constexpr const char* kFormat = "scalebits-frontier";
constexpr int kVersion = 1;

std::vector<BlockGrid> grids_of(const Plan& plan) {
  std::vector<BlockGrid> grids;
  for (const LinearPlan& linear : plan.linears) grids.push_back(linear.grid);
  return grids;
}

Json widths_to_json(const Widths& widths, std::span<const BlockGrid> grids) {
  Json json = Json::array();
  for (size_t i = 0; i < widths.size(); ++i) json.push_back(widths_to_json(grids[i], widths[i]));
  return json;
}

Widths widths_from_json(const Json& json, std::span<const BlockGrid> grids, const std::string& where) {
  if (!json.is_array() || json.size() != grids.size()) {
    fail<FormatError>(where, "widths: got {} matrices, expected {}", json.size(), grids.size());
  }
  Widths widths;
  for (size_t i = 0; i < grids.size(); ++i) widths.push_back(widths_from_json(grids[i], json.at(i), where));
  return widths;
}

std::vector<bool> fixed_from_json(const Json& names, const Plan& plan, const std::string& where) {
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < plan.linears.size(); ++i) index[plan.linears[i].name] = i;
  std::vector<bool> fixed(plan.linears.size(), false);
  for (const Json& name : names) {
    const auto found = index.find(name.get<std::string>());
    if (found == index.end()) fail<FormatError>(where, "fixed: got {}, expected a layer of the plan", short_text(name));
    fixed[found->second] = true;
  }
  return fixed;
}

/// What a point says of itself must be true, because a cut relies on it.
void check_point(const Frontier& frontier, size_t k, const std::string& where) {
  const FrontierPoint& point = frontier.points[k];
  Plan plan = frontier.plan;
  for (size_t i = 0; i < plan.linears.size(); ++i) {
    if (frontier.fixed[i] && point.widths[i] != plan.linears[i].bits) {
      fail<FormatError>(where, "widths: {} has other widths than in the plan, expected the same: it is fixed",
                        plan.linears[i].name);
    }
    plan.linears[i].bits = point.widths[i];
  }
  if (plan.bytes() != point.bytes || point.bytes > point.budget_bytes) {
    fail<FormatError>(where, "bytes: got {} of {}, but the widths take {}", point.bytes, point.budget_bytes,
                      plan.bytes());
  }
  if (!std::isfinite(point.heldout_loss) || !std::isfinite(point.heldout_kl)) {
    fail<FormatError>(where, "heldout_loss, heldout_kl: got {}, {}, expected finite numbers", point.heldout_loss,
                      point.heldout_kl);
  }
  if (k == 0) {
    if (plan.linears != frontier.plan.linears)
      fail<FormatError>(where, "widths: got others than the plan's, expected the same");
    return;
  }
  const FrontierPoint& before = frontier.points[k - 1];
  if (point.budget_bytes <= before.budget_bytes || point.bytes < before.bytes) {
    fail<FormatError>(where, "bytes: got {} of {} after {} of {}, expected rising numbers", point.bytes,
                      point.budget_bytes, before.bytes, before.budget_bytes);
  }
  if (point.rank.empty()) fail<FormatError>(where, "rank: missing, expected it in every point but the first");
}

Frontier frontier_from_json(const Json& json, const std::string& where) {
  if (json.at("format") != kFormat || json.at("version") != kVersion) {
    fail<FormatError>(where, "format: expected \"{}\" version {}. Is this a frontier?", kFormat, kVersion);
  }
  Frontier frontier;
  frontier.plan = parse_plan(json.at("plan").dump(), where);
  frontier.fixed = fixed_from_json(json.at("fixed"), frontier.plan, where);
  const std::vector<BlockGrid> grids = grids_of(frontier.plan);
  for (const Json& point : json.at("points")) {
    const std::string at = fmt::format("{}: points[{}]", where, frontier.points.size());
    frontier.points.push_back(frontier_point_from_json(point, grids, at));
    check_point(frontier, frontier.points.size() - 1, at);
  }
  if (frontier.points.empty()) fail<FormatError>(where, "points: got none, expected one at least");
  return frontier;
}

}  // namespace

Json frontier_point_to_json(const FrontierPoint& point, std::span<const BlockGrid> grids) {
  Json json = {{"budget_bytes", point.budget_bytes},
               {"bytes", point.bytes},
               {"heldout_loss", point.heldout_loss},
               {"heldout_kl", point.heldout_kl},
               {"certificate", {{"predicted", point.certificate.predicted}, {"bound", point.certificate.bound}}},
               {"widths", widths_to_json(point.widths, grids)}};
  if (!point.rank.empty()) json["rank"] = widths_to_json(point.rank, grids);
  return json;
}

FrontierPoint frontier_point_from_json(const Json& json, std::span<const BlockGrid> grids, const std::string& where) {
  FrontierPoint point;
  point.budget_bytes = integer_at<int64_t>(json, "budget_bytes", where);
  point.bytes = integer_at<int64_t>(json, "bytes", where);
  point.heldout_loss = json.at("heldout_loss").get<double>();
  point.heldout_kl = json.at("heldout_kl").get<double>();
  point.certificate = {json.at("certificate").at("predicted").get<double>(),
                       json.at("certificate").at("bound").get<double>()};
  point.widths = widths_from_json(json.at("widths"), grids, where);
  if (json.contains("rank")) point.rank = widths_from_json(json.at("rank"), grids, where);
  return point;
}

std::string frontier_to_json(const Frontier& frontier, const Json& extra) {
  const std::vector<BlockGrid> grids = grids_of(frontier.plan);
  Json json = {{"format", kFormat}, {"version", kVersion}};
  json.update(extra);
  json["fixed"] = Json::array();
  for (size_t i = 0; i < frontier.fixed.size(); ++i) {
    if (frontier.fixed[i]) json["fixed"].push_back(frontier.plan.linears[i].name);
  }
  json["plan"] = Json::parse(plan_to_json(frontier.plan));
  json["points"] = Json::array();
  for (const FrontierPoint& point : frontier.points) {
    Json item = {{"bpw", frontier.bpw(point.bytes)}};
    item.update(frontier_point_to_json(point, grids));
    item["trace"] = trace_to_json(point.trace);
    for (Json& entry : item["trace"]) entry.erase("seconds");  // the same frontier again is the same file
    json["points"].push_back(std::move(item));
  }
  return json.dump() + "\n";
}

Frontier parse_frontier(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  try {
    return frontier_from_json(json, where);
  } catch (const nlohmann::json::exception& error) {
    fail<FormatError>(where, "frontier: {}", error.what());
  } catch (const InvalidArgument& error) {
    fail<FormatError>(where, "frontier: {}", error.what());
  }
}

Frontier read_frontier(const std::filesystem::path& path) {
  return parse_frontier(read_text_file(path), path.string());
}

std::filesystem::path plan_path(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return path;
  const auto frontier = path / "frontier.json", plan = path / "plan.json";
  if (std::filesystem::exists(frontier)) return frontier;
  if (std::filesystem::exists(plan)) return plan;
  fail<InvalidArgument>("--plan", "{}: got a directory without a plan, expected plan.json or frontier.json in it.",
                        path.string());
}

bool is_frontier(const std::filesystem::path& file) {
  const Json json = read_json(file);
  return json.is_object() && json.contains("format") && json["format"] == kFormat;
}

}  // namespace scalebits
