// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/packed_config.h"

#include "scalebits/base/errors.h"
#include "scalebits/io/json.h"
#include "scalebits/io/text.h"

namespace scalebits {
namespace {

/// json[key] as T, whole, with an error that names file and key.
template <class T>
T required(const Json& json, const char* key, const std::string& where) {
  try {
    const std::string name = std::string("quantization_config.") + key;
    if constexpr (std::is_integral_v<T>) {
      return to_integer<T>(json.at(key), name, where);
    } else if constexpr (std::is_same_v<T, std::vector<int>>) {
      return to_integers<int>(json.at(key), name, where);
    } else {
      return json.at(key).get<T>();
    }
  } catch (const nlohmann::json::exception&) {
    fail<FormatError>(where, "quantization_config.{}: missing or of the wrong type. Was the file edited?", key);
  }
}

std::string one_of(const Json& json, const char* key, const char* a, const char* b, const std::string& where) {
  auto value = required<std::string>(json, key, where);
  if (value != a && value != b) {
    fail<FormatError>(where, "quantization_config.{}: got {}, expected {} or {}", key, quote(value), a, b);
  }
  return value;
}

}  // namespace

std::string add_packed_config(const std::filesystem::path& dense_dir, const PackedConfig& p) {
  Json config = read_json(dense_dir / "config.json");
  config["quantization_config"] = {{"quant_method", kQuantMethod},
                                   {"version", p.version},
                                   {"bits", p.bits},
                                   {"block", {p.spec.rows, p.spec.cols}},
                                   {"group_size", p.spec.group_size},
                                   {"quantizer", p.quantizer},
                                   {"method", p.method},
                                   {"reorder", p.reorder},
                                   {"reorder_mode", p.reorder_mode},
                                   {"tie", p.tie},
                                   {"calib_hash", p.calib_hash},
                                   {"seed", p.seed},
                                   {"files", p.files}};
  return config.dump(2) + "\n";
}

PackedConfig read_packed_config(const std::filesystem::path& dir) {
  const std::string where = (dir / "config.json").string();
  const Json config = read_json(dir / "config.json");
  if (!config.is_object() || !config.contains("quantization_config")) {
    fail<FormatError>(where, "quantization_config: missing, expected one. This is a dense checkpoint.");
  }
  const Json& q = config["quantization_config"];
  const auto method = required<std::string>(q, "quant_method", where);
  if (method != kQuantMethod) {
    fail<Unsupported>(where,
                      "quantization_config.quant_method: got {}, expected \"{}\". Only checkpoints written by "
                      "scalebits can be read packed.",
                      quote(method), kQuantMethod);
  }
  PackedConfig p;
  p.version = required<int>(q, "version", where);
  if (p.version != kPackedVersion) {
    fail<Unsupported>(where, "quantization_config.version: got {}, expected {}. Use the program version that wrote it.",
                      p.version, kPackedVersion);
  }
  const auto block = required<std::vector<int>>(q, "block", where);
  if (block.size() != 2)
    fail<FormatError>(where, "quantization_config.block: got {} entries, expected 2", block.size());
  p.spec = {block[0], block[1], required<int>(q, "group_size", where)};
  try {
    (void)BlockGrid(p.spec.rows, p.spec.cols, p.spec);
  } catch (const InvalidArgument& error) {
    fail<FormatError>(where, "quantization_config.block: {}", error.what());
  }
  p.bits = required<double>(q, "bits", where);
  p.quantizer = required<std::string>(q, "quantizer", where);
  p.method = required<std::string>(q, "method", where);
  p.reorder = required<std::string>(q, "reorder", where);
  p.reorder_mode = one_of(q, "reorder_mode", "folded", "fused", where);
  p.tie = one_of(q, "tie", "none", "fused", where);
  p.calib_hash = required<std::string>(q, "calib_hash", where);
  p.seed = required<uint64_t>(q, "seed", where);
  p.files = required<std::map<std::string, std::string>>(q, "files", where);
  return p;
}

}  // namespace scalebits
