// SPDX-License-Identifier: Apache-2.0
#include "scalebits/io/generation_config.h"

#include "scalebits/io/component.h"

namespace scalebits {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{16} << 20;
constexpr int64_t kMaxToken = (int64_t{1} << 24) - 1;

}  // namespace

std::vector<int64_t> read_generation_eos(const std::filesystem::path& model_dir) {
  const std::filesystem::path path = model_dir / "generation_config.json";
  if (!std::filesystem::exists(path)) return {};
  const Json json = read_json(path, kMaxFileBytes);
  const Component eos = Component(json, path.string(), "").child("eos_token_id");
  if (eos.is_null()) return {};
  if (!eos.json().is_array()) return {eos.integer(0, kMaxToken)};
  std::vector<int64_t> ids;
  for (const Component& id : eos.items()) ids.push_back(id.integer(0, kMaxToken));
  return ids;
}

}  // namespace scalebits
