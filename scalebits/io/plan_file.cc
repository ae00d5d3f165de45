// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/plan_file.h"

#include <optional>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"

namespace scalebits {
namespace {

constexpr const char* kFormat = "scalebits-plan";
constexpr int kVersion = 2;

/// A missing key is a plan of a version that left these matrices dense.
int vocab_width_from_json(const Json& json, const char* key, const std::string& where) {
  if (!json.contains(key)) return kDenseBits;
  const Json& bits = json.at(key);
  if (!bits.is_number_integer() || !is_vocab_width(bits.get<int64_t>())) {
    fail<FormatError>(where, "{}: got {}, expected 2..8 or {}", key, bits.dump(), kDenseBits);
  }
  return bits.get<int>();
}

Plan plan_from_json(const Json& json, const std::string& where) {
  if (json.at("format") != kFormat || json.at("version") != kVersion) {
    fail<FormatError>(where, "format: expected \"{}\" version {}. Is this a plan file?", kFormat, kVersion);
  }
  Plan plan;
  plan.spec = {json.at("block").at(0).get<int>(), json.at("block").at(1).get<int>(), json.at("group_size").get<int>()};
  plan.quantizer = json.at("quantizer").get<std::string>();
  plan.method = json.at("method").get<std::string>();
  plan.reorder = json.at("reorder").get<std::string>();
  plan.reorder_mode = json.at("reorder_mode").get<std::string>();
  plan.tie = json.at("tie").get<std::string>();
  plan.model_fingerprint = json.at("model_fingerprint").get<std::string>();
  plan.calib_hash = json.at("calib_hash").get<std::string>();
  plan.seed = json.at("seed").get<uint64_t>();
  plan.vocab = {vocab_width_from_json(json, "embed_bits", where), vocab_width_from_json(json, "head_bits", where)};
  plan.order = order_from_json(json.at("order"));
  std::optional<size_t> owner;  // of the column order that the next layer may share
  for (const Json& item : json.at("linears")) {
    LinearPlan linear;
    linear.name = item.at("name").get<std::string>();
    linear.grid = BlockGrid(item.at("out_features").get<int64_t>(), item.at("in_features").get<int64_t>(), plan.spec);
    linear.bits = widths_from_json(linear.grid, item.at("bits"), where + ": " + linear.name);
    linear.row_perm = item.value("row_perm", Permutation());
    linear.col_perm = item.value("col_perm", Permutation());
    linear.shares_cols = item.value("shares_cols", false);
    if (linear.shares_cols) {
      if (!owner || !linear.col_perm.empty()) {
        fail<FormatError>(where, "{}: got shares_cols {}, expected a layer before it to share with and no col_perm.",
                          linear.name, !owner ? "in the first layer" : "beside a col_perm");
      }
      linear.col_perm = plan.linears[*owner].col_perm;
    } else {
      owner = plan.linears.size();
    }
    plan.linears.push_back(std::move(linear));
  }
  check_plan(plan);
  return plan;
}

}  // namespace

Json order_to_json(const FoldedOrder& order) {
  Json layers = Json::array();
  for (const FoldedOrder::Layer& l : order.layers) {
    layers.push_back({{"mlp", l.mlp}, {"value", l.value}, {"kv_heads", l.kv_heads}, {"query_heads", l.query_heads}});
    if (!l.experts.empty()) layers.back()["experts"] = l.experts;
  }
  return {{"residual", order.residual}, {"layers", layers}};
}

FoldedOrder order_from_json(const Json& json) {
  FoldedOrder order;
  order.residual = json.at("residual").get<Permutation>();
  for (const Json& l : json.at("layers")) {
    order.layers.push_back({.mlp = l.at("mlp").get<Permutation>(),
                            .experts = l.value("experts", std::vector<Permutation>()),
                            .value = l.at("value").get<std::vector<Permutation>>(),
                            .kv_heads = l.at("kv_heads").get<Permutation>(),
                            .query_heads = l.at("query_heads").get<std::vector<Permutation>>()});
  }
  return order;
}

Json widths_to_json(const BlockGrid& grid, const std::vector<uint8_t>& bits) {
  Json rows = Json::array();
  for (int64_t r = 0; r < grid.row_blocks(); ++r) {
    std::string row;
    for (int64_t c = 0; c < grid.col_blocks(); ++c) {
      row += static_cast<char>('0' + bits[static_cast<size_t>(r * grid.col_blocks() + c)]);
    }
    rows.push_back(row);
  }
  return rows;
}

std::vector<uint8_t> widths_from_json(const BlockGrid& grid, const Json& rows, const std::string& where) {
  const auto row_count = static_cast<size_t>(grid.row_blocks()), col_count = static_cast<size_t>(grid.col_blocks());
  if (!rows.is_array() || rows.size() != row_count) {
    fail<FormatError>(where, "bits: got {} rows of blocks, expected {}", rows.size(), row_count);
  }
  std::vector<uint8_t> bits;
  for (const Json& row : rows) {
    const auto digits = row.get<std::string>();
    if (digits.size() != col_count) {
      fail<FormatError>(where, "bits: got a row of {} digits, expected {}", digits.size(), col_count);
    }
    for (const char digit : digits) {
      if (digit < '0' + kMinBits || digit > '0' + kMaxBits) {
        fail<FormatError>(where, "bits: got \"{}\", expected digits {} to {}", digits, kMinBits, kMaxBits);
      }
      bits.push_back(static_cast<uint8_t>(digit - '0'));
    }
  }
  return bits;
}

std::string plan_to_json(const Plan& plan, const Json& extra) {
  Json linears = Json::array();
  for (const LinearPlan& linear : plan.linears) {
    linears.push_back({{"name", linear.name},
                       {"out_features", linear.grid.out_features()},
                       {"in_features", linear.grid.in_features()},
                       {"bits", widths_to_json(linear.grid, linear.bits)}});
    if (!linear.row_perm.empty()) linears.back()["row_perm"] = linear.row_perm;
    if (linear.shares_cols) {
      linears.back()["shares_cols"] = true;
    } else if (!linear.col_perm.empty()) {
      linears.back()["col_perm"] = linear.col_perm;
    }
  }
  Json json = {{"format", kFormat},
               {"version", kVersion},
               {"method", plan.method},
               {"quantizer", plan.quantizer},
               {"reorder", plan.reorder},
               {"reorder_mode", plan.reorder_mode},
               {"tie", plan.tie},
               {"block", {plan.spec.rows, plan.spec.cols}},
               {"group_size", plan.spec.group_size},
               {"embed_bits", plan.vocab.embed},
               {"head_bits", plan.vocab.head},
               {"seed", plan.seed},
               {"model_fingerprint", plan.model_fingerprint},
               {"calib_hash", plan.calib_hash},
               {"bytes", plan.bytes()},
               {"bpw", plan.bpw()},
               {"code_bits", plan.code_bits()}};
  json.update(extra);
  json["order"] = order_to_json(plan.order);
  json["linears"] = linears;
  return json.dump() + "\n";
}

Plan parse_plan(std::string_view text, const std::string& where) {
  const Json json = parse_json(text, where);
  try {
    return plan_from_json(json, where);
  } catch (const nlohmann::json::exception& error) {
    fail<FormatError>(where, "plan: {}", error.what());
  } catch (const InvalidArgument& error) {
    fail<FormatError>(where, "plan: {}", error.what());
  }
}

Plan read_plan(const std::filesystem::path& path) { return parse_plan(read_text_file(path), path.string()); }

}  // namespace scalebits
