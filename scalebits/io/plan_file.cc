// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/plan_file.h"

#include <algorithm>
#include <optional>

#include "scalebits/base/errors.h"
#include "scalebits/io/file.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

constexpr const char* kFormat = "scalebits-plan";
constexpr int kVersion = 2;

/// A missing key is a plan of a version that left these matrices dense.
int vocab_width_from_json(const Json& json, const char* key, const std::string& where) {
  if (!json.contains(key)) return kDenseBits;
  const Json& bits = json.at(key);
  if (!bits.is_number_integer() || bits < 0 || bits > kDenseBits || !is_vocab_width(bits.get<int>())) {
    fail<FormatError>(where, "{}: got {}, expected 2..8 or {}", key, short_text(bits), kDenseBits);
  }
  return bits.get<int>();
}

/// Names and words go into messages and records, so they are short and printable.
std::string word_from_json(const Json& json, const char* key, const std::string& where) {
  constexpr size_t kMostBytes = 256;
  auto word = json.at(key).get<std::string>();
  const auto odd = [](char c) { return c < ' ' || c > '~'; };
  if (word.size() > kMostBytes || std::any_of(word.begin(), word.end(), odd)) {
    fail<FormatError>(where, "{}: got {} ({} bytes), expected at most {} bytes of printable ASCII", key, quote(word),
                      word.size(), kMostBytes);
  }
  return word;
}

Permutation perm_from_json(const Json& json, const char* key, const std::string& where) {
  return to_integers<int32_t>(json.at(key), key, where);
}

std::vector<Permutation> perms_from_json(const Json& json, const char* key, const std::string& where) {
  std::vector<Permutation> perms;
  for (const Json& perm : json.at(key)) perms.push_back(to_integers<int32_t>(perm, key, where));
  return perms;
}

BlockSpec spec_from_json(const Json& json, const std::string& where) {
  const std::vector<int> block = to_integers<int>(json.at("block"), "block", where);
  if (block.size() != 2) fail<FormatError>(where, "block: got {} numbers, expected 2", block.size());
  return {block[0], block[1], integer_at<int>(json, "group_size", where)};
}

Plan plan_from_json(const Json& json, const std::string& where) {
  if (json.at("format") != kFormat || json.at("version") != kVersion) {
    fail<FormatError>(where, "format: expected \"{}\" version {}. Is this a plan file?", kFormat, kVersion);
  }
  Plan plan;
  plan.spec = spec_from_json(json, where);
  plan.quantizer = word_from_json(json, "quantizer", where);
  plan.method = word_from_json(json, "method", where);
  plan.reorder = word_from_json(json, "reorder", where);
  plan.reorder_mode = word_from_json(json, "reorder_mode", where);
  plan.tie = word_from_json(json, "tie", where);
  plan.model_fingerprint = word_from_json(json, "model_fingerprint", where);
  plan.calib_hash = word_from_json(json, "calib_hash", where);
  plan.seed = integer_at<uint64_t>(json, "seed", where);
  plan.vocab = {vocab_width_from_json(json, "embed_bits", where), vocab_width_from_json(json, "head_bits", where)};
  plan.order = order_from_json(json.at("order"), where);
  std::optional<size_t> owner;  // of the column order that the next layer may share
  for (const Json& item : json.at("linears")) {
    LinearPlan linear;
    linear.name = word_from_json(item, "name", where);
    const std::string at = where + ": " + linear.name;
    linear.grid = BlockGrid(integer_at<int64_t>(item, "out_features", at), integer_at<int64_t>(item, "in_features", at),
                            plan.spec);
    linear.bits = widths_from_json(linear.grid, item.at("bits"), at);
    if (item.contains("row_perm")) linear.row_perm = perm_from_json(item, "row_perm", at);
    if (item.contains("col_perm")) linear.col_perm = perm_from_json(item, "col_perm", at);
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

FoldedOrder order_from_json(const Json& json, const std::string& where) {
  FoldedOrder order;
  order.residual = perm_from_json(json, "residual", where);
  for (const Json& l : json.at("layers")) {
    order.layers.push_back(
        {.mlp = perm_from_json(l, "mlp", where),
         .experts = l.contains("experts") ? perms_from_json(l, "experts", where) : std::vector<Permutation>(),
         .value = perms_from_json(l, "value", where),
         .kv_heads = perm_from_json(l, "kv_heads", where),
         .query_heads = perms_from_json(l, "query_heads", where)});
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
    const auto& digits = row.get_ref<const std::string&>();
    if (digits.size() != col_count) {
      fail<FormatError>(where, "bits: got a row of {} digits, expected {}", digits.size(), col_count);
    }
    for (const char digit : digits) {
      if (digit < '0' + kMinBits || digit > '0' + kMaxBits) {
        fail<FormatError>(where, "bits: got {}, expected digits {} to {}", quote(digits), kMinBits, kMaxBits);
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
