// SPDX-License-Identifier: Apache-2.0
#include "scalebits/search/state_file.h"

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/plan_file.h"
#include "scalebits/search/frontier_file.h"

namespace scalebits {
namespace {

constexpr const char* kFormat = "scalebits-search-state";
constexpr int kVersion = 3;

std::vector<TraceEntry> trace_from_json(const Json& json, const std::string& where) {
  std::vector<TraceEntry> trace;
  for (const Json& e : json) {
    const auto integer = [&](const char* key) { return integer_at<int64_t>(e, key, where); };
    trace.push_back({integer("iteration"), e.at("gradient_loss").get<double>(), e.at("heldout_before").get<double>(),
                     e.at("heldout_after").get<double>(), integer("moves_up"), integer("moves_down"),
                     e.at("predicted_gain").get<double>(), e.at("accepted").get<bool>(), integer("bytes"),
                     e.at("seconds").get<double>()});
  }
  return trace;
}

Json greedy_to_json(const GreedyState& state, const QuantizedLayers& layers) {
  Json widths = Json::array();
  for (size_t i = 0; i < layers.items.size(); ++i) {
    widths.push_back(widths_to_json(layers.items[i].grid, state.widths[i]));
  }
  return {{"iteration", state.iteration},           {"batch", state.batch},   {"heldout", state.heldout},
          {"fresh_gradient", state.fresh_gradient}, {"stalls", state.stalls}, {"finished", state.finished},
          {"trace", trace_to_json(state.trace)},    {"widths", widths}};
}

void greedy_from_json(const Json& json, const QuantizedLayers& layers, const std::string& where, GreedyState& state) {
  state.iteration = integer_at<int64_t>(json, "iteration", where);
  state.batch = integer_at<int64_t>(json, "batch", where);
  state.heldout = json.at("heldout").get<double>();
  state.fresh_gradient = integer_at<int64_t>(json, "fresh_gradient", where);
  state.stalls = integer_at<int64_t>(json, "stalls", where);
  state.finished = json.at("finished").get<bool>();
  state.trace = trace_from_json(json.at("trace"), where);
  for (size_t i = 0; i < layers.items.size(); ++i) {
    state.widths.push_back(widths_from_json(layers.items[i].grid, json.at("widths").at(i), where));
  }
}

Json guard_to_json(const GuardState& guard, const QuantizedLayers& layers) {
  Json json = {{"seconds", guard.seconds}, {"written", guard.written}};
  if (guard.uniform) json["uniform"] = *guard.uniform;
  if (guard.matrix) json["matrix"] = greedy_to_json(*guard.matrix, layers);
  return json;
}

GuardState guard_from_json(const Json& json, const QuantizedLayers& layers, const std::string& where) {
  GuardState guard;
  guard.seconds = json.at("seconds").get<double>();
  guard.written = json.at("written").get<std::vector<double>>();
  if (json.contains("uniform")) guard.uniform = json.at("uniform").get<double>();
  if (json.contains("matrix")) greedy_from_json(json.at("matrix"), layers, where, guard.matrix.emplace());
  return guard;
}

Json fused_to_json(const FusedOrder& orders, const QuantizedLayers& layers) {
  Json json = Json::array();
  for (size_t i = 0; i < orders.size(); ++i) {
    json.push_back({{"rows", orders[i].rows}});
    if (!layers.items[i].shares_cols) json.back()["cols"] = orders[i].cols;
  }
  return json;
}

FusedOrder fused_from_json(const Json& json, const QuantizedLayers& layers, const std::string& where) {
  if (!json.empty() && json.size() != layers.items.size()) {
    fail<FormatError>(where, "orders: got {}, expected {} or none. Remove it or use --resume never.", json.size(),
                      layers.items.size());
  }
  FusedOrder orders(json.size());
  for (size_t i = 0; i < orders.size(); ++i) {
    const QuantizedLayers::Item& item = layers.items[i];
    orders[i].rows = to_integers<int32_t>(json[i].at("rows"), "rows", where);
    orders[i].cols = item.shares_cols ? orders[i - 1].cols : to_integers<int32_t>(json[i].at("cols"), "cols", where);
    if (orders[i].rows.size() != item.order.rows.size() || orders[i].cols.size() != item.order.cols.size()) {
      fail<FormatError>(where, "order of {}: got {} rows and {} columns, expected {} and {}", item.name,
                        orders[i].rows.size(), orders[i].cols.size(), item.order.rows.size(), item.order.cols.size());
    }
    check_permutation(where, item.name + ".row_perm", orders[i].rows);
    check_permutation(where, item.name + ".col_perm", orders[i].cols);
  }
  return orders;
}

std::vector<BlockGrid> grids_of(const QuantizedLayers& layers) {
  std::vector<BlockGrid> grids;
  for (const auto& item : layers.items) grids.push_back(item.grid);
  return grids;
}

Json frontier_to_json(const std::vector<FrontierPoint>& points, const QuantizedLayers& layers) {
  Json json = Json::array();
  for (const FrontierPoint& point : points) {
    Json item = frontier_point_to_json(point, grids_of(layers));
    item["trace"] = trace_to_json(point.trace);
    json.push_back(std::move(item));
  }
  return json;
}

std::vector<FrontierPoint> frontier_from_json(const Json& json, const QuantizedLayers& layers,
                                              const std::string& where) {
  std::vector<FrontierPoint> points;
  for (const Json& item : json) {
    points.push_back(frontier_point_from_json(item, grids_of(layers), where));
    points.back().trace = trace_from_json(item.at("trace"), where);
  }
  return points;
}

}  // namespace

Json trace_to_json(const std::vector<TraceEntry>& trace) {
  Json json = Json::array();
  for (const TraceEntry& e : trace) {
    json.push_back({{"iteration", e.iteration},
                    {"gradient_loss", e.gradient_loss},
                    {"heldout_before", e.heldout_before},
                    {"heldout_after", e.heldout_after},
                    {"moves_up", e.moves_up},
                    {"moves_down", e.moves_down},
                    {"predicted_gain", e.predicted_gain},
                    {"accepted", e.accepted},
                    {"bytes", e.bytes},
                    {"seconds", e.seconds}});
  }
  return json;
}

void save_search_state(const std::filesystem::path& path, const SearchState& state, const QuantizedLayers& layers,
                       const std::string& fingerprint) {
  Json json = greedy_to_json(state, layers);
  json.update({{"format", kFormat}, {"version", kVersion}, {"fingerprint", fingerprint}});
  json["order"] = order_to_json(state.order);
  json["fused"] = fused_to_json(state.fused, layers);
  if (state.guard) json["guard"] = guard_to_json(*state.guard, layers);
  if (!state.frontier.empty()) json["frontier"] = frontier_to_json(state.frontier, layers);
  write_text_file(path, json.dump() + "\n");
}

std::optional<SearchState> load_search_state(const std::filesystem::path& path, const QuantizedLayers& layers,
                                             const std::string& fingerprint, std::string& why) {
  if (!std::filesystem::exists(path)) {
    why = "there is no " + path.string();
    return std::nullopt;
  }
  const Json json = read_json(path);
  const std::string where = path.string();
  try {
    if (json.at("format") != kFormat || json.at("version") != kVersion) {
      fail<FormatError>(where, "format: expected \"{}\" version {}. Remove it or use --resume never.", kFormat,
                        kVersion);
    }
    if (json.at("fingerprint").get<std::string>() != fingerprint) {
      why = where + " was written for another model, calibration text, budget or option";
      return std::nullopt;
    }
    SearchState state;
    greedy_from_json(json, layers, where, state);
    state.order = order_from_json(json.at("order"), where);
    state.fused = fused_from_json(json.at("fused"), layers, where);
    if (json.contains("guard")) state.guard = guard_from_json(json.at("guard"), layers, where);
    if (json.contains("frontier")) state.frontier = frontier_from_json(json.at("frontier"), layers, where);
    return state;
  } catch (const nlohmann::json::exception& error) {
    fail<FormatError>(where, "search state: {}. Remove it or use --resume never.", error.what());
  }
}

}  // namespace scalebits
